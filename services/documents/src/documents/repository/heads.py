"""What a row of a document or folder shows, and the events its changes write: parts of other modules' statements."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

from psycopg.types.json import Jsonb

from common import messaging
from common.auth import Principal
from common.contracts import Event
from common.database import Row, Transaction
from common.identifiers import uuid7

# A folder the caller may not know of, or one in the trash, is not shown as the place of what is theirs.
DOCUMENT: Final = (
    "d.id, d.workspace_id, d.title, d.language, d.kind, d.version, d.content_version, d.body_sha256, d.size, "
    "d.access_root_id, d.created_at, d.created_by, d.updated_at, d.updated_by, d.trashed_at, d.folder_id, d.position, "
    "d.trashed_with, CASE WHEN d.access_root_id <> d.id THEN d.folder_id ELSE (SELECT f.id FROM documents.folder f "
    "WHERE f.id = d.folder_id AND f.trashed_at IS NULL) END AS shown_folder_id, "
    "d.access_root_id = d.id AND (SELECT NOT r.inherits FROM documents.access_root r WHERE r.root_id = d.id) "
    "AS restricted, d.created_by = (SELECT documents.app_user()) AND d.access_root_id <> d.id AS made_it"
)
FOLDER: Final = (
    "f.id, f.workspace_id, f.access_root_id, f.parent_id, f.name, f.position, f.version, f.created_at, f.created_by, "
    "f.updated_at, f.updated_by, f.trashed_at, f.trashed_with, CASE WHEN f.access_root_id <> f.id THEN f.parent_id "
    "ELSE (SELECT p.id FROM documents.folder p WHERE p.id = f.parent_id AND p.trashed_at IS NULL) END "
    "AS shown_parent_id, "
    "f.access_root_id = f.id AND (SELECT NOT r.inherits FROM documents.access_root r WHERE r.root_id = f.id) "
    "AS restricted"
)
DOCUMENT_DATA: Final = (
    "jsonb_build_object('document_id', id, 'workspace_id', workspace_id, 'access_root_id', access_root_id, "
    "'version', version, 'content_version', content_version, 'content_hash', body_sha256, 'size', size, "
    "'title', title, 'language', language, 'kind', kind, 'folder_id', folder_id, 'position', position, "
    "'trashed', trashed_at IS NOT NULL)"
)
CONTENT_DATA: Final = f"{DOCUMENT_DATA} || jsonb_build_object('previous_content_version', previous_content_version)"
#: Seconds for which only a live room's export may change a document's content; and whether there are none.
HELD: Final = "greatest(0, extract(epoch FROM d.held_until - clock_timestamp()))::float8 AS held"
FREE: Final = "(d.held_until IS NULL OR d.held_until <= clock_timestamp())"
_FOLDER_DATA: Final = (
    "jsonb_build_object('folder_id', id, 'workspace_id', workspace_id, 'access_root_id', access_root_id, "
    "'parent_id', parent_id, 'name', name, 'position', position, 'version', version, "
    "'trashed', trashed_at IS NOT NULL)"
)


def _outbox(event_id: str, data: str, rows: str = "head") -> str:
    return (
        "event AS (INSERT INTO documents.outbox (event_id, type, aggregate_id, aggregate_version, data, headers) "
        f"SELECT {event_id}, %(event_type)s::text, id, version, {data} || %(event_extra)s::jsonb, %(headers)s::jsonb "
        f"FROM {rows})"
    )


_MOVED: Final = " || jsonb_build_object('previous_root_id', old_root_id)"
_COPIED: Final = " || jsonb_build_object('copied_from', copied_from)"
_COPIES: Final = "(SELECT head.*, c.id AS copied_from FROM head JOIN copies c ON c.copy = head.id) AS copied"

#: Appended to statements whose `head` are the changed rows: their events in the same round trip.
DOCUMENT_EVENT: Final = _outbox("%(event_id)s::uuid", DOCUMENT_DATA)
DOCUMENT_EVENTS: Final = _outbox("gen_random_uuid()", DOCUMENT_DATA)
#: The same of a row whose content changed.
CONTENT_EVENT: Final = _outbox("%(event_id)s::uuid", CONTENT_DATA)
FOLDER_EVENTS: Final = _outbox("gen_random_uuid()", _FOLDER_DATA)
#: The same for rows that have an `old_root_id`.
DOCUMENT_MOVES: Final = _outbox("gen_random_uuid()", DOCUMENT_DATA + _MOVED)
#: The same for rows made by a statement that has `copies`.
DOCUMENT_COPIES: Final = _outbox("gen_random_uuid()", DOCUMENT_DATA + _COPIED, _COPIES)
FOLDER_MOVES: Final = _outbox("gen_random_uuid()", _FOLDER_DATA + _MOVED)


def told(
    transaction: Transaction,
    principal: Principal | None,
    event: type[Event],
    extra: dict[str, Any],
    headers: Mapping[str, str | None] = MappingProxyType({}),
) -> dict[str, Any]:
    """Parameters of the statements above; `headers`: who did it, if that is not the `principal` of a request."""
    transaction.will_tell()
    return {
        "event_id": uuid7(),
        "event_type": event.type,
        "event_extra": Jsonb(extra),
        "headers": Jsonb({**messaging.headers(principal), **headers}),
    }


async def locked(transaction: Transaction, statement: str, id_: UUID) -> Row | None:
    """The row a locking statement finds.

    Asked again if there is none: whoever waited for the lock judges the row as it is then by rights as they were
    before, and does not find what was put under an access root of its own meanwhile.
    """
    return await transaction.one(statement, {"id": id_}) or await transaction.one(statement, {"id": id_})


def first(rows: list[Row]) -> Row | None:
    """The first row or None."""
    return rows[0] if rows else None
