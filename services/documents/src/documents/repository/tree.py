"""Statements about folders and about what lies where; those on whole subtrees are sets, never loops."""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from psycopg import errors as pg
from psycopg.types.json import Jsonb

from common.access import Action, roles_allowing
from common.auth import Principal
from common.contracts.documents import (
    DocumentRestored,
    DocumentTrashed,
    DocumentUpdated,
    FolderCreated,
    FolderRestored,
    FolderState,
    FolderTrashed,
    FolderUpdated,
)
from common.database import Row, Transaction

from ..errors import DocumentExistsError, FolderExistsError
from . import heads

HEAD: Final = heads.FOLDER
ROLE: Final = "documents.my_role(f.access_root_id) AS role"
_EDITOR: Final = "IN ('" + "', '".join(roles_allowing(Action.EDIT)) + "')"
_SHOWN_AT_THE_TOP: Final = (
    "(f.parent_id IS NULL OR f.access_root_id = f.id AND NOT EXISTS (SELECT 1 FROM documents.folder p "
    "WHERE p.id = f.parent_id AND p.trashed_at IS NULL))"
)
_PLACE: Final = frozenset(("parent_id", "position", "access_root_id"))
_FIELDS: Final = {"name": {"name"}, "place": {"parent_id", "position"}}

_CREATE: Final = f"""
    WITH place AS MATERIALIZED (
        %s
    ), m AS MATERIALIZED (
        SELECT root_id, documents.my_role(root_id) AS role FROM place
    ), head AS (
        INSERT INTO documents.folder AS f (id, workspace_id, access_root_id, parent_id, name, position, version,
            field_versions, created_by, updated_by)
        SELECT %(id)s::uuid, %(workspace)s::uuid, m.root_id, %(folder)s::uuid, %(name)s::text, %(position)s::text, 1,
               %(field_versions)s::jsonb, %(user)s::uuid, %(user)s::uuid
        FROM m WHERE m.role {_EDITOR} AND documents.claim_id(%(id)s, 'folder')
        RETURNING {HEAD}
    ), {heads.FOLDER_EVENTS}
    SELECT head.*, m.role FROM head, m"""
_TOP: Final = "SELECT %(workspace)s::uuid AS root_id"
_IN_FOLDER: Final = (
    "SELECT p.access_root_id AS root_id FROM documents.folder p WHERE p.id = %(folder)s "
    "AND p.workspace_id = %(workspace)s AND p.trashed_at IS NULL FOR SHARE"
)
CREATE: Final = _CREATE.replace("%s\n", _TOP + "\n")
CREATE_IN_FOLDER: Final = _CREATE.replace("%s\n", _IN_FOLDER + "\n")
CREATE_UNDER: Final = _CREATE.replace("%s\n", "SELECT %(root)s::uuid AS root_id\n")
_LOCK: Final = "SELECT pg_advisory_xact_lock{shared}(hashtextextended('tree:' || %(workspace)s::text, 0))"
LOCK: Final = _LOCK.format(shared="")
SHARE: Final = _LOCK.format(shared="_shared")


class TreeRepository:
    """Folders, and what lies below them, as one user may see and change it."""

    def __init__(self, transaction: Transaction, principal: Principal) -> None:
        self.transaction = transaction
        self._principal = principal

    async def lock(self, workspace_id: UUID) -> None:
        """Serialise changes of a workspace's tree and access rules; until the transaction ends."""
        await self.transaction.execute(LOCK, {"workspace": workspace_id})

    async def share_lock(self, workspace_id: UUID) -> None:
        """Let nobody rearrange a workspace's tree or change its access rules; until the transaction ends."""
        await self.transaction.execute(SHARE, {"workspace": workspace_id})

    async def claim_id(self, node_id: UUID, kind: str) -> None:
        """Make sure that an id a client chose is nothing else's. Raises `DocumentExistsError`, `FolderExistsError`."""
        try:
            await self.transaction.execute("SELECT documents.claim_id(%(id)s, %(kind)s)", {"id": node_id, "kind": kind})
        except pg.UniqueViolation as error:
            raise (FolderExistsError if kind == "folder" else DocumentExistsError) from error

    async def find(self, folder_id: UUID) -> Row | None:
        """Head and the caller's role."""
        return heads.first(
            await self.transaction.single(
                f"SELECT {HEAD}, {ROLE} FROM documents.folder f WHERE f.id = %(id)s", {"id": folder_id}
            )
        )

    async def find_for_update(self, folder_id: UUID) -> Row | None:
        """Head, role and the version that last changed each field; locked until the transaction ends."""
        return await heads.locked(
            self.transaction,
            f"SELECT {HEAD}, {ROLE}, f.field_versions FROM documents.folder f WHERE f.id = %(id)s FOR UPDATE OF f",
            folder_id,
        )

    async def share(self, folder_id: UUID) -> Row | None:
        """Head and role of a folder something is about to be put into: it can be neither moved nor restricted now."""
        return await heads.locked(
            self.transaction,
            f"SELECT {HEAD}, {ROLE} FROM documents.folder f WHERE f.id = %(id)s FOR SHARE OF f",
            folder_id,
        )

    async def living_above(self, folder_id: UUID) -> Row | None:
        """`id` and `access_root_id` of a folder, or the nearest above, that is not in the trash; seen by all."""
        return await self.transaction.one("SELECT * FROM documents.living_above(%(id)s)", {"id": folder_id})

    async def create(self, folder: dict[str, Any]) -> Row | None:
        """Insert a folder and its event, under access root `root` if it names one; None if the caller may not.

        Nobody rearranges the tree meanwhile, or it would be missed by whoever looks for what lies below a folder.
        Raises `FolderExistsError`.
        """
        statement = CREATE_UNDER if folder.get("root") else CREATE_IN_FOLDER if folder["folder"] else CREATE
        creation = {
            **folder,
            "user": self._principal.user_id,
            "field_versions": Jsonb({"name": 1, "place": 1}),
            **heads.told(self.transaction, self._principal, FolderCreated, {}),
        }
        try:
            _, rows = await self.transaction.together([(SHARE, folder), (statement, creation)])
        except pg.UniqueViolation as error:
            raise FolderExistsError from error
        return heads.first(rows)

    async def list_in(
        self, workspace_id: UUID, *, filters: dict[str, Any], after: Sequence[Any] | None, limit: int
    ) -> list[Row]:
        """One folder more than `limit`, by position, with the caller's role in each."""
        conditions = ["f.workspace_id = %(workspace)s"]
        conditions.append("f.trashed_at IS NOT NULL" if filters.get("trashed") else "f.trashed_at IS NULL")
        if filters.get("parent_id"):
            conditions.append("f.parent_id = %(parent_id)s")
            conditions.append("EXISTS (SELECT 1 FROM documents.folder p WHERE p.id = %(parent_id)s)")
        if filters.get("top"):
            conditions.append(_SHOWN_AT_THE_TOP)
        if after:
            conditions.append("(f.position, f.id) > (%(after)s::text, %(after_id)s::uuid)")
        return await self.transaction.single(
            f"SELECT {HEAD}, m.role FROM documents.folder f "
            "JOIN documents.my_access(%(workspace)s) m ON m.root_id = f.access_root_id "
            f"WHERE {' AND '.join(conditions)} ORDER BY f.position, f.id LIMIT %(limit)s",
            {
                **filters,
                "workspace": workspace_id,
                "after": after[0] if after else None,
                "after_id": after[1] if after else None,
                "limit": limit + 1,
            },
        )

    async def update(self, head: Row, changes: dict[str, Any], event: type[FolderState], **extra: Any) -> Row:
        """Set columns of a row locked before, count the version, tell the others."""
        before = {}
        if changes.get("access_root_id", head["access_root_id"]) != head["access_root_id"]:
            before["previous_root_id"] = str(head["access_root_id"])
        row = await self.transaction.one(
            f"""
            WITH head AS (
                UPDATE documents.folder AS f SET {", ".join(f"{name} = %({name})s" for name in changes)},
                    version = f.version + 1, updated_by = %(user)s,
                    updated_at = CASE WHEN %(seen)s THEN now() ELSE f.updated_at END,
                    field_versions = f.field_versions || coalesce(
                        (SELECT jsonb_object_agg(n, f.version + 1) FROM unnest(%(fields)s::text[]) AS n), '{{}}')
                WHERE f.id = %(id)s
                RETURNING {HEAD}
            ), {heads.FOLDER_EVENTS}
            SELECT * FROM head""",
            {
                **changes,
                "id": head["id"],
                "user": self._principal.user_id,
                "seen": not changes.keys() <= _PLACE,
                "fields": [field for field, columns in _FIELDS.items() if not columns.isdisjoint(changes)],
                **heads.told(self.transaction, self._principal, event, extra | before),
            },
        )
        assert row is not None  # noqa: S101 - locked by find_for_update in this transaction
        return row | {"role": head["role"]}

    async def lineage(self, folder_id: UUID) -> list[UUID]:
        """A folder and those above it, up to the top, whoever may see them."""
        row = await self.transaction.one("SELECT documents.lineage(%(id)s) AS line", {"id": folder_id})
        return list(row["line"]) if row else []

    async def subtree(self, folder_id: UUID, *, within: UUID | None = None) -> list[Row]:
        """Ids and depths of a folder (depth 0) and all below that the caller sees, or that lie under root `within`."""
        return await self.transaction.all(
            """
            WITH RECURSIVE below (id, depth) AS (
                SELECT f.id, 0 FROM documents.folder f WHERE f.id = %(id)s
                UNION ALL
                SELECT f.id, below.depth + 1 FROM below JOIN documents.folder f ON f.parent_id = below.id
                WHERE %(within)s::uuid IS NULL OR f.access_root_id = %(within)s
            )
            SELECT id, depth FROM below""",
            {"id": folder_id, "within": within},
        )

    async def roles_within(self, folders: Sequence[UUID], tag: UUID | None) -> set[str]:
        """The caller's roles at whatever lies in these folders and is alive, or was trashed with `tag`."""
        rows = await self.transaction.all(
            """
            SELECT DISTINCT documents.my_role(root) AS role FROM (
                SELECT f.access_root_id FROM documents.folder f
                WHERE f.id = ANY(%(folders)s) AND f.trashed_with IS NOT DISTINCT FROM %(tag)s
                UNION
                SELECT d.access_root_id FROM documents.document d
                WHERE d.folder_id = ANY(%(folders)s)
                  AND (%(tag)s IS NOT NULL OR d.trashed_at IS NULL) AND d.trashed_with IS NOT DISTINCT FROM %(tag)s
            ) AS found (root)""",
            {"folders": list(folders), "tag": tag},
        )
        return {row["role"] for row in rows}

    async def trash(self, folders: Sequence[UUID], tag: UUID) -> None:
        """Take these folders and the documents in them to the trash, together."""
        await self._sweep(
            "trashed_at = now(), trashed_by = %(user)s, trashed_with = %(tag)s",
            "{0}.trashed_at IS NULL", folders, tag, FolderTrashed, DocumentTrashed,
        )  # fmt: skip

    async def restore(self, folders: Sequence[UUID], tag: UUID) -> None:
        """Take back what of these folders and the documents in them went to the trash together."""
        await self._sweep(
            "trashed_at = NULL, trashed_by = NULL, trashed_with = NULL",
            "{0}.trashed_with = %(tag)s", folders, tag, FolderRestored, DocumentRestored,
        )  # fmt: skip

    async def _sweep(
        self, assignments: str, which: str, folders: Sequence[UUID], tag: UUID, folder_event: Any, document_event: Any
    ) -> None:
        params = {"folders": list(folders), "tag": tag, "user": self._principal.user_id}
        stamp = "version = {0}.version + 1, updated_at = now(), updated_by = %(user)s"
        await self.transaction.execute(
            f"WITH head AS (UPDATE documents.folder AS f SET {assignments}, {stamp.format('f')} "
            f"WHERE f.id = ANY(%(folders)s) AND {which.format('f')} RETURNING f.*), {heads.FOLDER_EVENTS} SELECT 1",
            params | heads.told(self.transaction, self._principal, folder_event, {}),
        )
        await self.transaction.execute(
            f"WITH head AS (UPDATE documents.document AS d SET {assignments}, {stamp.format('d')} "
            f"WHERE d.folder_id = ANY(%(folders)s) AND {which.format('d')} RETURNING d.*), "
            f"{heads.DOCUMENT_EVENTS} SELECT 1",
            params | heads.told(self.transaction, self._principal, document_event, {}),
        )

    async def reroot(self, folders: Sequence[UUID], old: UUID, new: UUID) -> dict[UUID, int]:
        """Put these folders, and the documents in them that lay under root `old`, under `new`; id -> new version."""
        params = {"folders": list(folders), "old": old, "new": new}
        extra = {"origin": "access", "previous_root_id": str(old)}
        moved = await self.transaction.all(
            "WITH head AS (UPDATE documents.folder AS f SET access_root_id = %(new)s, version = f.version + 1 "
            f"WHERE f.id = ANY(%(folders)s) AND f.access_root_id = %(old)s RETURNING f.*), {heads.FOLDER_EVENTS} "
            "SELECT id, version FROM head",
            params | heads.told(self.transaction, self._principal, FolderUpdated, extra),
        )
        moved += await self.transaction.all(
            "WITH head AS (UPDATE documents.document AS d SET access_root_id = %(new)s, version = d.version + 1 "
            f"WHERE d.folder_id = ANY(%(folders)s) AND d.access_root_id = %(old)s RETURNING d.*), "
            f"{heads.DOCUMENT_EVENTS} SELECT id, version FROM head",
            params | heads.told(self.transaction, self._principal, DocumentUpdated, extra | {"merged": False}),
        )
        return {row["id"]: row["version"] for row in moved}

    async def folders_below(self, head: Row, *, depth: int, limit: int) -> list[Row]:
        """Folders below one down to a depth, nearest first, with the caller's role in each; one more than `limit`."""
        return await self.transaction.all(
            f"""
            WITH RECURSIVE below (id, depth) AS (
                SELECT f.id, 0 FROM documents.folder f WHERE f.id = %(id)s
                UNION ALL
                SELECT f.id, below.depth + 1 FROM below JOIN documents.folder f ON f.parent_id = below.id
                WHERE below.depth < %(depth)s AND f.trashed_at IS NULL
            )
            SELECT {HEAD}, m.role, below.depth FROM below JOIN documents.folder f ON f.id = below.id
            JOIN documents.my_access(%(workspace)s) m ON m.root_id = f.access_root_id
            WHERE below.depth > 0 ORDER BY below.depth, f.position, f.id LIMIT %(limit)s""",
            {"id": head["id"], "workspace": head["workspace_id"], "depth": depth, "limit": limit + 1},
        )

    async def documents_in(self, head: Row, folders: Sequence[UUID], *, limit: int) -> list[Row]:
        """Living documents in some folders of `head`'s workspace, with the caller's role; one more than `limit`."""
        return await self.transaction.all(
            f"SELECT {heads.DOCUMENT}, m.role FROM documents.document d "
            "JOIN documents.my_access(%(workspace)s) m ON m.root_id = d.access_root_id "
            "WHERE d.folder_id = ANY(%(folders)s) AND d.trashed_at IS NULL "
            "ORDER BY d.position, d.id LIMIT %(limit)s",
            {"workspace": head["workspace_id"], "folders": list(folders), "limit": limit + 1},
        )

    async def positions_from(self, workspace_id: UUID, parent_id: UUID | None, after: UUID) -> tuple[str, str | None]:
        """Position of the sibling `after` and the next one behind it. Raises `LookupError` if it is no such sibling."""
        siblings = (
            "SELECT id, position FROM documents.folder f WHERE f.workspace_id = %(workspace)s "
            "AND f.parent_id IS NOT DISTINCT FROM %(parent)s AND f.trashed_at IS NULL UNION ALL "
            "SELECT id, position FROM documents.document d WHERE d.workspace_id = %(workspace)s "
            "AND d.folder_id IS NOT DISTINCT FROM %(parent)s AND d.trashed_at IS NULL"
        )
        row = await self.transaction.one(
            f"WITH s AS ({siblings}), this AS (SELECT position FROM s WHERE id = %(after)s) "
            "SELECT this.position, (SELECT min(s.position) FROM s WHERE s.position > this.position) AS next FROM this",
            {"workspace": workspace_id, "parent": parent_id, "after": after},
        )
        if row is None:
            raise LookupError(str(after))
        return row["position"], row["next"]
