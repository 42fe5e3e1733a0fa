"""Live documents: where they lie, what their state stands for, who may."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import zstandard

from common.database import Row, Transaction

_DOCUMENT: Final = (
    "id, workspace_id, access_root_id, kind, version, trashed, newest_content, lineage, schema_version, seed_client, "
    "retired_seeds, head_seq, snapshot_seq, content_version, exported_seq, verbatim"
)


class DocumentRepository:
    """What a user may know of live documents."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def find(self, document_id: UUID) -> Row | None:
        """The document with the caller's `role` there and `name`; None if it is unknown here or none of theirs."""
        rows = await self._transaction.single(
            f"SELECT {_DOCUMENT}, collab.my_role(access_root_id) AS role, (SELECT u.display_name "
            "FROM collab.access_user u WHERE u.user_id = collab.app_user()) AS name "
            "FROM collab.document WHERE id = %(id)s",
            {"id": document_id},
        )
        return rows[0] if rows else None

    async def role_at(self, root_id: UUID) -> Row:
        """The caller's `role` at an access root, and `name`."""
        [row] = await self._transaction.single(
            "SELECT collab.my_role(%(root)s) AS role, (SELECT u.display_name FROM collab.access_user u "
            "WHERE u.user_id = collab.app_user()) AS name",
            {"root": root_id},
        )
        return row

    async def readable_in(self, workspace_id: UUID, documents: Sequence[UUID]) -> set[UUID]:
        """Those of the documents that lie in the workspace and that the caller may read."""
        rows = await self._transaction.single(
            "SELECT id FROM collab.document WHERE workspace_id = %(workspace)s AND id = ANY(%(ids)s::uuid[])",
            {"workspace": workspace_id, "ids": list(documents)},
        )
        return {row["id"] for row in rows}

    async def belongs(self, workspace_id: UUID) -> bool:
        """Whether the workspace is one of the caller's."""
        [row] = await self._transaction.single(
            "SELECT %(id)s::uuid = ANY(collab.my_workspaces()) AS belongs", {"id": workspace_id}
        )
        return bool(row["belongs"])


class LiveRepository:
    """Live documents as the worker sees them: all."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def find(self, document_id: UUID) -> Row | None:
        """A live document."""
        return await self._transaction.one(
            f"SELECT {_DOCUMENT} FROM collab.document WHERE id = %(id)s", {"id": document_id}
        )

    async def seed(self, head: Mapping[str, Any], seed_client: int, schema_version: int, state: bytes) -> None:
        """Make a document live, unless somebody else just did: then theirs is the one."""
        made = await self._transaction.one(
            "INSERT INTO collab.document (id, workspace_id, access_root_id, kind, version, trashed, newest_content, "
            "schema_version, seed_client, content_version) VALUES (%(id)s, %(workspace_id)s, %(access_root_id)s, "
            "%(kind)s, %(version)s, %(trashed)s, %(content_version)s, %(schema)s, %(client)s, %(content_version)s) "
            "ON CONFLICT DO NOTHING RETURNING lineage",
            {**head, "schema": schema_version, "client": seed_client},
        )
        if made:
            await self.keep_state(head["id"], made["lineage"], 0, state)

    async def begin_anew(self, row: Row, head: Mapping[str, Any], seed_client: int, state: bytes) -> bool:
        """End a document's life and begin another one from its newest version; False if somebody just did."""
        made = await self._transaction.one(
            "UPDATE collab.document SET lineage = lineage + 1, retired_seeds = retired_seeds || seed_client, "
            "seed_client = %(client)s, snapshot_seq = head_seq, exported_seq = head_seq, mark_state = NULL, "
            "verbatim = false, content_version = %(content_version)s, newest_content = greatest(newest_content, "
            "%(content_version)s), kind = %(kind)s, changed_at = now() WHERE id = %(id)s AND lineage = %(lineage)s "
            "RETURNING lineage, head_seq",
            {**head, "client": seed_client, "lineage": row["lineage"]},
        )
        if made:
            await self.keep_state(head["id"], made["lineage"], made["head_seq"], state)
        return made is not None

    async def keep_state(self, document_id: UUID, lineage: int, seq: int, state: bytes) -> None:
        """Keep a whole state."""
        packed = zstandard.compress(state)
        await self._transaction.execute(
            "INSERT INTO collab.state (document_id, lineage, seq, state, sha256) "
            "VALUES (%(id)s, %(lineage)s, %(seq)s, %(state)s, %(sha)s) ON CONFLICT DO NOTHING",
            {"id": document_id, "lineage": lineage, "seq": seq, "state": packed, "sha": hashlib.sha256(state).digest()},
        )

    async def place(self, heads: Sequence[Mapping[str, Any]]) -> list[UUID]:
        """Note where documents lie and which content is the newest; those that have content they had not heard of.

        A lower version never overwrites a higher one; documents that were never live are left out.
        """
        rows = await self._transaction.all(
            "WITH told AS (SELECT DISTINCT ON (id) * FROM unnest(%(ids)s::uuid[], %(workspaces)s::uuid[], "
            "%(roots)s::uuid[], %(versions)s::bigint[], %(contents)s::bigint[], %(trashed)s::bool[]) "
            "AS t (id, workspace_id, access_root_id, version, content, trashed) ORDER BY id, version DESC) "
            "UPDATE collab.document d SET workspace_id = t.workspace_id, access_root_id = t.access_root_id, "
            "version = t.version, trashed = t.trashed, newest_content = greatest(d.newest_content, t.content) "
            "FROM told t WHERE d.id = t.id AND d.version < t.version "
            "RETURNING d.id, d.newest_content > d.content_version AS behind",
            {
                "ids": [head["id"] for head in heads],
                "workspaces": [head["workspace_id"] for head in heads],
                "roots": [head["access_root_id"] for head in heads],
                "versions": [head["version"] for head in heads],
                "contents": [head["content_version"] for head in heads],
                "trashed": [bool(head["trashed"]) for head in heads],
            },
        )
        return [row["id"] for row in rows if row["behind"]]

    async def purge(self, documents: Sequence[UUID]) -> None:
        """Forget live documents whose documents were deleted for good, with all that was ever typed in them."""
        if documents:
            await self._transaction.execute(
                "DELETE FROM collab.document WHERE id = ANY(%(ids)s)", {"ids": list(documents)}
            )

    async def lease(self, document_id: UUID, holder: UUID, seconds: float) -> Row | None:
        """Be the one who carries a document to and from its versions, for some time; None if somebody else is."""
        return await self._transaction.one(
            "UPDATE collab.document SET lease = %(holder)s, leased_until = now() + make_interval(secs => %(seconds)s) "
            "WHERE id = %(id)s AND (lease = %(holder)s OR leased_until IS NULL OR leased_until < now()) "
            f"RETURNING {_DOCUMENT}, mark_state, lease",
            {"id": document_id, "holder": holder, "seconds": seconds},
        )

    async def release(self, document_id: UUID, holder: UUID) -> None:
        """Let somebody else carry it."""
        await self._transaction.execute(
            "UPDATE collab.document SET leased_until = now() WHERE id = %(id)s AND lease = %(holder)s",
            {"id": document_id, "holder": holder},
        )

    async def mark(self, row: Row, content_version: int, seq: int) -> bool:
        """The state at `seq` says what content version `content_version` says.

        False if the mark moved meanwhile, or if that state cannot be made any more.
        """
        return (
            await self._transaction.one(
                "UPDATE collab.document SET content_version = %(content)s, newest_content = greatest(newest_content, "
                "%(content)s), exported_seq = %(seq)s, mark_state = NULL WHERE id = %(id)s AND lineage = %(lineage)s "
                "AND content_version = %(base)s AND snapshot_seq <= %(seq)s RETURNING id",
                {**_fence(row), "content": content_version, "seq": seq},
            )
            is not None
        )

    async def skip(self, row: Row, content_version: int) -> bool:
        """A content version differs from the one before in nothing a live document shows."""
        return (
            await self._transaction.one(
                "UPDATE collab.document SET content_version = %(content)s, newest_content = greatest(newest_content, "
                "%(content)s) WHERE id = %(id)s AND lineage = %(lineage)s AND content_version = %(base)s RETURNING id",
                {**_fence(row), "content": content_version},
            )
            is not None
        )

    async def append_version(
        self, row: Row, content_version: int, actors: Sequence[UUID], update: bytes, state: bytes
    ) -> int | None:
        """Write a content version into the log, once: its entry's number, None if the mark moved meanwhile.

        Its state is the log's own only if nothing was written since the mark; else it is kept beside it.
        """
        alone = "(d.head_seq = d.exported_seq AND d.mark_state IS NULL)"
        made = await self._transaction.one(
            "WITH head AS (UPDATE collab.document d SET head_seq = d.head_seq + 1, content_version = %(content)s, "
            "newest_content = greatest(d.newest_content, %(content)s), changed_at = now(), "
            f"exported_seq = CASE WHEN {alone} THEN d.head_seq + 1 ELSE d.exported_seq END, "
            f"mark_state = CASE WHEN {alone} THEN NULL ELSE %(state)s END "
            "WHERE d.id = %(id)s AND d.lineage = %(lineage)s AND d.content_version = %(base)s "
            "AND d.exported_seq = %(exported)s RETURNING d.id, d.lineage, d.head_seq) "
            "INSERT INTO collab.update_log (document_id, lineage, seq, payload, actors, origin) "
            "SELECT id, lineage, head_seq, %(payload)s, %(actors)s::uuid[], 'version' FROM head RETURNING seq",
            {
                **_fence(row), "content": content_version, "actors": list(actors), "payload": update,
                "state": zstandard.compress(state),
            },
        )  # fmt: skip
        return made["seq"] if made else None

    async def keep_snapshot(self, row: Row, seq: int, state: bytes) -> None:
        """A state that was compared with the entries up to `seq`: they need not be read any more."""
        taken = await self._transaction.one(
            "UPDATE collab.document SET snapshot_seq = %(seq)s WHERE id = %(id)s AND lineage = %(lineage)s "
            "AND snapshot_seq < %(seq)s AND exported_seq >= %(seq)s RETURNING id",
            {"id": row["id"], "lineage": row["lineage"], "seq": seq},
        )
        if taken:
            await self.keep_state(row["id"], row["lineage"], seq, state)

    async def keep_verbatim(self, row: Row) -> None:
        """From here on the document is served as its log has it."""
        await self._transaction.execute(
            "UPDATE collab.document SET verbatim = true WHERE id = %(id)s AND lineage = %(lineage)s",
            {"id": row["id"], "lineage": row["lineage"]},
        )

    async def unexported(self, seconds: float, limit: int) -> list[UUID]:
        """Documents with edits that have been in no version for so long, those first that were not tried for longest.

        A document that cannot be exported must not keep others from being found.
        """
        rows = await self._transaction.all(
            "SELECT id FROM collab.document WHERE head_seq > exported_seq AND changed_at < now() - make_interval("
            "secs => %(seconds)s) AND (leased_until IS NULL OR leased_until < now()) "
            "ORDER BY leased_until NULLS FIRST LIMIT %(n)s",
            {"seconds": seconds, "n": limit},
        )
        return [row["id"] for row in rows]


def _fence(row: Row) -> dict[str, Any]:
    return {
        "id": row["id"], "lineage": row["lineage"], "base": row["content_version"], "exported": row["exported_seq"]
    }  # fmt: skip


def mark_of(row: Row) -> bytes | None:
    """The state kept beside the log, if there is one."""
    return zstandard.decompress(row["mark_state"]) if row["mark_state"] is not None else None
