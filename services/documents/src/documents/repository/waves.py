"""Plain operations of a device as sets: one statement makes documents, one saves texts, with the results of all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import orjson
from psycopg import errors as pg
from psycopg.types.json import Jsonb

from common import messaging
from common.access import Action, roles_allowing
from common.auth import Principal
from common.contracts.documents import DocumentCreated, DocumentUpdated
from common.database import Call, Row, Transaction

from ..errors import DocumentExistsError, OperationKnownError
from ..storage import Body
from . import heads
from .operations import is_known

_EDITOR: Final = "IN ('" + "', '".join(roles_allowing(Action.EDIT)) + "')"

# What holds whole subtrees does so by the lock of their workspace's tree, taken before any row: see docs/access.md.
SHARE_TREES: Final = """
    SELECT pg_advisory_xact_lock_shared(hashtextextended('tree:' || t.workspace_id::text, 0)) FROM (
        SELECT unnest(%(workspaces)s::uuid[]) AS workspace_id UNION
        SELECT d.workspace_id FROM documents.document d WHERE d.id = ANY(%(documents)s::uuid[])
        ORDER BY workspace_id) AS t"""

_OPERATIONS: Final = (
    "op AS MATERIALIZED (SELECT * FROM json_to_recordset(%(ops)s::json) AS o (op_id uuid, op_n bigint, op_hash bytea, "
    "headers jsonb, id uuid, sha256 text, size integer, data bytea, {0}))"
)


def _results(data: str) -> str:
    """What follows in the same statement on `head`, the changed rows; `data` of each is told."""
    return f"""
    done AS MATERIALIZED (
        SELECT h.*, o.op_id, o.op_n, o.op_hash, o.headers, o.data FROM head h JOIN op o ON o.id = h.id
    ), body AS (
        INSERT INTO documents.body (workspace_id, sha256, size, data)
        SELECT workspace_id, body_sha256, size, data FROM done ON CONFLICT DO NOTHING
    ), version AS (
        INSERT INTO documents.version (document_id, n, workspace_id, body_sha256, size, title, author_id, contributors,
                                       origin, base_version, merged)
        SELECT id, version, workspace_id, body_sha256, size, title, %(user)s::uuid, ARRAY[%(user)s::uuid],
               %(origin)s::text, base, false FROM done
    ), event AS (
        INSERT INTO documents.outbox (event_id, type, aggregate_id, aggregate_version, data, headers)
        SELECT gen_random_uuid(), %(event_type)s::text, id, version,
               {data} || %(event_extra)s::jsonb, headers
        FROM done
    ), result AS (
        INSERT INTO documents.op_result (user_id, op_id, device_id, n, request_hash, entity_id, status, result)
        SELECT %(user)s::uuid, op_id, %(op_device)s::uuid, op_n, op_hash, id, 'applied', jsonb_build_object(
            'version', version, 'content_version', content_version, 'content_hash', body_sha256)
        FROM done
    )
    SELECT op_id, version, content_version, body_sha256 FROM done"""


CREATE: Final = f"""
    WITH {_OPERATIONS.format("workspace uuid, folder uuid, position text, title text, language text, kind text")},
    meant AS MATERIALIZED (
        SELECT o.*, coalesce(f.access_root_id, o.workspace) AS root_id FROM op o LEFT JOIN documents.folder f
        ON f.id = o.folder AND f.workspace_id = o.workspace AND f.trashed_at IS NULL
        WHERE o.folder IS NULL OR f.id IS NOT NULL
    ), root AS MATERIALIZED (
        SELECT root_id, documents.my_role(root_id) AS role FROM (SELECT DISTINCT root_id FROM meant) AS r
    ), made AS (
        INSERT INTO documents.document AS d (id, workspace_id, access_root_id, folder_id, position, title, language,
            kind, version, content_version, body_sha256, size, field_versions, created_by, updated_by)
        SELECT m.id, m.workspace, m.root_id, m.folder, m.position, m.title, m.language, m.kind, 1, 1, m.sha256, m.size,
               %(field_versions)s::jsonb, %(user)s::uuid, %(user)s::uuid
        FROM meant m JOIN root r ON r.root_id = m.root_id
        WHERE r.role {_EDITOR} AND documents.claim_id(m.id, 'document')
        RETURNING d.*
    ), head AS (SELECT made.*, NULL::bigint AS base FROM made), {_results(heads.DOCUMENT_DATA)}"""

SAVE: Final = f"""
    WITH {_OPERATIONS.format("base bigint, seen text")},
    held AS MATERIALIZED (
        SELECT d.id, d.access_root_id FROM documents.document d JOIN op o ON o.id = d.id ORDER BY d.id FOR UPDATE OF d
    ), root AS MATERIALIZED (
        SELECT root_id, documents.my_role(root_id) AS role
        FROM (SELECT DISTINCT access_root_id AS root_id FROM held) AS r
    ), head AS (
        UPDATE documents.document AS d SET version = d.version + 1, content_version = d.version + 1,
            previous_content_version = d.content_version, body_sha256 = o.sha256, size = o.size, updated_at = now(),
            updated_by = %(user)s::uuid
        FROM op o, root r
        WHERE d.id = o.id AND d.access_root_id = r.root_id AND r.role {_EDITOR}
          AND d.content_version <= o.base AND d.version >= o.base AND d.trashed_at IS NULL
          AND d.body_sha256 <> o.sha256 AND d.body_sha256 = coalesce(o.seen, d.body_sha256) AND {heads.FREE}
        RETURNING d.*, o.base
    ), {_results(heads.CONTENT_DATA)}"""


@dataclass(frozen=True, slots=True)
class Plain:
    """A new document or text of a device: its operation (`op_id`, `op_n`, `op_hash`), its body, its other columns."""

    acting: Principal
    operation: Mapping[str, Any]
    body: Body
    columns: Mapping[str, Any]

    def as_row(self) -> dict[str, Any]:
        """As the statements read it."""
        inline = self.body.inline or b""
        return {
            **{name: self.operation[name] for name in ("op_id", "op_n")},
            "op_hash": "\\x" + self.operation["op_hash"].hex(),
            "headers": messaging.headers(self.acting),
            "sha256": self.body.sha256,
            "size": self.body.size,
            "data": "\\x" + inline.hex(),
            **self.columns,
        }


class WaveRepository:
    """Operations that do not touch each other, in one transaction."""

    def __init__(self, transaction: Transaction, principal: Principal) -> None:
        self._transaction = transaction
        self._principal = principal

    async def apply(self, new: Sequence[Plain], texts: Sequence[Plain], device_id: UUID | None) -> dict[UUID, Row]:
        """Make documents and save texts whose base is the current one; operation -> `version` and hash.

        Those left out stand in nobody's way, but need a closer look. The trees stay as they are meanwhile. Raises
        `OperationKnownError`, `DocumentExistsError`: then nothing happened.
        """
        trees = {
            "workspaces": [one.columns["workspace"] for one in new],
            "documents": [one.columns["id"] for one in texts],
        }
        calls: list[Call] = [(SHARE_TREES, trees)]
        shared = {"user": self._principal.user_id, "op_device": device_id}
        if new:
            fields = {"origin": "create", "field_versions": Jsonb({"title": 1, "language": 1, "place": 1})}
            calls.append((CREATE, shared | fields | self._event(DocumentCreated, {}, new)))
        if texts:
            extra = {"merged": False, "origin": "save"}
            calls.append((SAVE, shared | {"origin": "save"} | self._event(DocumentUpdated, extra, texts)))
        try:
            _, *found = await self._transaction.together(calls)
        except pg.UniqueViolation as error:
            raise (OperationKnownError if is_known(error) else DocumentExistsError) from error
        return {row["op_id"]: row for rows in found for row in rows}

    def _event(self, event: type[Any], extra: dict[str, Any], operations: Sequence[Plain]) -> dict[str, Any]:
        self._transaction.will_tell()
        rows = orjson.dumps([one.as_row() for one in operations]).decode()
        return {"ops": rows, "event_type": event.type, "event_extra": Jsonb(extra)}
