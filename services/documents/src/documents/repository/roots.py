"""Statements about access roots, their grants, and requests for access. They are no secret to the service itself."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from psycopg.types.json import Jsonb

from common import messaging
from common.auth import Principal
from common.contracts import Event
from common.contracts.documents import RootChanged, root_aggregate
from common.database import Row, Transaction

from .tree import LOCK

SCHEMA = "documents"


class Root(NamedTuple):
    """A folder or document that becomes an access root, and the root above."""

    id: UUID
    kind: str
    parent_id: UUID | None


class RootRepository:
    """Access rules of folders and documents."""

    def __init__(self, transaction: Transaction, principal: Principal | None) -> None:
        self.transaction = transaction
        self._principal = principal

    async def lock_trees(self, workspaces: Collection[UUID]) -> None:
        """Serialise changes of these workspaces' trees and access rules; until the transaction ends."""
        for workspace_id in sorted(workspaces):
            await self.transaction.execute(LOCK, {"workspace": workspace_id})

    async def held(self, node_id: UUID) -> Row | None:
        """A folder or document in a workspace the caller owns, whether they may read it or not."""
        return await self.transaction.one("SELECT * FROM documents.held(%(id)s)", {"id": node_id})

    async def find(self, root_id: UUID) -> Row | None:
        """The living root of this id, with its grants as principal -> role."""
        return await self.transaction.one(
            "SELECT r.*, coalesce((SELECT jsonb_object_agg(g.kind || ':' || g.principal_id, g.role) "
            "FROM documents.access_grant g WHERE g.root_id = r.root_id), '{}') AS grants "
            "FROM documents.access_root r WHERE r.root_id = %(id)s AND NOT r.removed",
            {"id": root_id},
        )

    async def lineage(self, root_id: UUID) -> list[Row]:
        """A root and those its rights come from: up to the first that inherits nothing, nearest first.

        With grants, and the caller's role at each.
        """
        return await self.transaction.all(
            """
            WITH RECURSIVE line AS (
                SELECT r.*, 1 AS depth FROM documents.access_root r WHERE r.root_id = %(id)s AND NOT r.removed
                UNION ALL
                SELECT r.*, line.depth + 1 FROM line JOIN documents.access_root r
                ON r.root_id = line.parent_id AND NOT r.removed WHERE line.inherits
            )
            SELECT line.*, documents.my_role(line.root_id) AS role,
                coalesce((SELECT jsonb_object_agg(g.kind || ':' || g.principal_id, g.role)
                FROM documents.access_grant g WHERE g.root_id = line.root_id), '{}') AS grants
            FROM line ORDER BY depth""",
            {"id": root_id},
        )

    async def keep(self, root: Mapping[str, Any], grants: Mapping[str, str]) -> int:
        """Write a root and its grants whole; its new version."""
        row = await self.transaction.one(
            "INSERT INTO documents.access_root AS r "
            "(root_id, workspace_id, kind, parent_id, inherits, removed, version) "
            "VALUES (%(root_id)s, %(workspace_id)s, %(kind)s, %(parent_id)s, %(inherits)s, %(removed)s, 1) "
            "ON CONFLICT (root_id) DO UPDATE SET (workspace_id, parent_id, inherits, removed, version) = "
            "(excluded.workspace_id, excluded.parent_id, excluded.inherits, excluded.removed, r.version + 1) "
            "RETURNING version",
            root,
        )
        await self.transaction.execute(
            """
            WITH given AS (
                SELECT split_part(key, ':', 1) AS kind, split_part(key, ':', 2)::uuid AS id, value AS role
                FROM jsonb_each_text(%(grants)s)
            ), gone AS (
                DELETE FROM documents.access_grant WHERE root_id = %(root_id)s
                AND principal_id NOT IN (SELECT id FROM given)
            )
            INSERT INTO documents.access_grant (root_id, principal_id, kind, role)
            SELECT %(root_id)s, id, kind, role FROM given
            ON CONFLICT (root_id, principal_id) DO UPDATE SET role = excluded.role""",
            {"root_id": root["root_id"], "grants": Jsonb(dict(grants))},
        )
        assert row is not None  # noqa: S101 - RETURNING of an upsert without a condition
        return int(row["version"])

    async def give(self, owner: UUID, workspace_id: UUID, roots: Sequence[Root]) -> dict[UUID, int]:
        """Restrict folders and documents to one user who owns them; new versions."""
        rows = await self.transaction.all(
            """
            WITH given AS (
                SELECT * FROM unnest(%(ids)s::uuid[], %(kinds)s::text[], %(parents)s::uuid[]) AS g (id, kind, parent)
            ), gone AS (
                DELETE FROM documents.access_grant WHERE root_id = ANY(%(ids)s) AND principal_id <> %(owner)s
            ), owned AS (
                INSERT INTO documents.access_grant (root_id, principal_id, kind, role)
                SELECT id, %(owner)s, 'user', 'owner' FROM given
                ON CONFLICT (root_id, principal_id) DO UPDATE SET role = excluded.role
            )
            INSERT INTO documents.access_root AS r
                (root_id, workspace_id, kind, parent_id, inherits, removed, version)
            SELECT id, %(workspace)s, kind, parent, false, false, 1 FROM given
            ON CONFLICT (root_id) DO UPDATE SET (workspace_id, parent_id, inherits, removed, version) =
                (excluded.workspace_id, excluded.parent_id, false, false, r.version + 1)
            RETURNING root_id, version""",
            {
                "owner": owner,
                "workspace": workspace_id,
                "ids": [root.id for root in roots],
                "kinds": [root.kind for root in roots],
                "parents": [root.parent_id for root in roots],
            },
        )
        return {row["root_id"]: row["version"] for row in rows}

    async def remove(self, ids: Sequence[UUID]) -> dict[UUID, int]:
        """These folders and documents have no rules of their own any more; new versions."""
        rows = await self.transaction.all(
            "WITH gone AS (DELETE FROM documents.access_grant WHERE root_id = ANY(%(ids)s)) "
            "UPDATE documents.access_root SET removed = true, version = version + 1 "
            "WHERE root_id = ANY(%(ids)s) RETURNING root_id, version",
            {"ids": list(ids)},
        )
        return {row["root_id"]: row["version"] for row in rows}

    async def within(self, folders: Sequence[UUID]) -> list[UUID]:
        """Roots that lie directly in these folders, whoever may see them."""
        row = await self.transaction.one("SELECT documents.roots_in(%(folders)s) AS ids", {"folders": list(folders)})
        return list(row["ids"]) if row else []

    async def hang(self, ids: Sequence[UUID], parent_id: UUID) -> dict[UUID, int]:
        """Let rights of these roots come from another one above; their new versions."""
        rows = await self.transaction.all(
            "UPDATE documents.access_root SET parent_id = %(parent)s, version = version + 1 "
            "WHERE root_id = ANY(%(ids)s) AND parent_id <> %(parent)s RETURNING root_id, version",
            {"ids": list(ids), "parent": parent_id},
        )
        return {row["root_id"]: row["version"] for row in rows}

    async def tell(self, ids: Sequence[UUID], change: str) -> None:
        """Write the event of each root's present state."""
        self.transaction.will_tell()
        await self.transaction.execute(
            """
            INSERT INTO documents.outbox (event_id, type, aggregate_id, aggregate_version, data, headers)
            SELECT gen_random_uuid(), %(type)s, told.aggregate, r.version, jsonb_build_object(
                'root_id', r.root_id, 'workspace_id', r.workspace_id, 'kind', r.kind, 'parent_id', r.parent_id,
                'inherits', r.inherits, 'removed', r.removed, 'version', r.version, 'change', %(change)s::text,
                'grants', coalesce((SELECT jsonb_object_agg(g.kind || ':' || g.principal_id, g.role)
                                    FROM documents.access_grant g WHERE g.root_id = r.root_id), '{}')), %(headers)s
            FROM unnest(%(ids)s::uuid[], %(aggregates)s::uuid[]) AS told (id, aggregate)
            JOIN documents.access_root r ON r.root_id = told.id""",
            {
                "type": RootChanged.type,
                "ids": list(ids),
                "aggregates": [root_aggregate(id_) for id_ in ids],
                "change": change,
                "headers": Jsonb(messaging.headers(self._principal)),
            },
        )

    async def facts(self, ids: Sequence[UUID]) -> list[Row]:
        """Roots as versioned facts, removed ones included."""
        return await self.transaction.all(
            "SELECT r.*, coalesce((SELECT jsonb_object_agg(g.kind || ':' || g.principal_id, g.role) "
            "FROM documents.access_grant g WHERE g.root_id = r.root_id), '{}') AS grants "
            "FROM documents.access_root r WHERE r.root_id = ANY(%(ids)s)",
            {"ids": list(ids)},
        )

    async def living(self, workspace_id: UUID, users: Sequence[UUID], groups: Sequence[UUID]) -> dict[str, str]:
        """Of these, the members and guests of a workspace and its groups: principal -> name."""
        rows = await self.transaction.all(
            """
            SELECT 'user:' || m.user_id AS principal, coalesce(u.display_name, '') AS name
            FROM documents.access_member m LEFT JOIN documents.access_user u ON u.user_id = m.user_id
            WHERE m.workspace_id = %(workspace)s AND m.user_id = ANY(%(users)s) AND NOT m.removed
            UNION ALL
            SELECT 'group:' || g.group_id, g.name FROM documents.access_group g
            WHERE g.workspace_id = %(workspace)s AND g.group_id = ANY(%(groups)s) AND NOT g.removed""",
            {"workspace": workspace_id, "users": list(users), "groups": list(groups)},
        )
        return {row["principal"]: row["name"] for row in rows}

    async def reaches_somebody(self, workspace_id: UUID, users: Sequence[UUID], groups: Sequence[UUID]) -> bool:
        """Whether any of these is, or contains, a living member or guest of the workspace."""
        row = await self.transaction.one(
            "SELECT EXISTS (SELECT 1 FROM documents.access_member m WHERE m.workspace_id = %(workspace)s "
            "AND NOT m.removed AND (m.user_id = ANY(%(users)s) OR m.user_id IN (SELECT g.user_id "
            "FROM documents.access_group_member g WHERE g.group_id = ANY(%(groups)s) AND NOT g.removed))) AS found",
            {"workspace": workspace_id, "users": list(users), "groups": list(groups)},
        )
        return bool(row and row["found"])

    async def granted_to(self, users: Sequence[UUID], workspaces: Sequence[UUID]) -> list[Row]:
        """Roots in these workspaces with grants to the user of the same place in the list, if that one has left."""
        return await self.transaction.all(
            "SELECT DISTINCT r.root_id, r.workspace_id, g.principal_id FROM documents.access_grant g "
            "JOIN documents.access_root r ON r.root_id = g.root_id "
            "JOIN unnest(%(users)s::uuid[], %(workspaces)s::uuid[]) AS gone (user_id, workspace_id) "
            "ON gone.user_id = g.principal_id AND gone.workspace_id = r.workspace_id "
            "JOIN documents.access_member m ON m.user_id = gone.user_id AND m.workspace_id = gone.workspace_id "
            "AND m.removed ORDER BY r.root_id",
            {"users": list(users), "workspaces": list(workspaces)},
        )

    async def ungrant(self, roots: Sequence[UUID], principals: Sequence[UUID]) -> dict[UUID, int]:
        """Take back grants pair by pair; the new versions of their roots."""
        rows = await self.transaction.all(
            "WITH gone AS (DELETE FROM documents.access_grant g "
            "USING unnest(%(roots)s::uuid[], %(principals)s::uuid[]) AS pair (root_id, principal_id) "
            "WHERE g.root_id = pair.root_id AND g.principal_id = pair.principal_id RETURNING g.root_id) "
            "UPDATE documents.access_root r SET version = version + 1 WHERE r.root_id IN (SELECT root_id FROM gone) "
            "RETURNING r.root_id, r.version",
            {"roots": list(roots), "principals": list(principals)},
        )
        return {row["root_id"]: row["version"] for row in rows}

    async def groups_of(self, user_id: UUID, workspace_id: UUID) -> list[str]:
        """Groups of a workspace somebody is in, as principals."""
        rows = await self.transaction.all(
            "SELECT 'group:' || group_id AS principal FROM documents.access_group_member "
            "WHERE user_id = %(user)s AND workspace_id = %(workspace)s AND NOT removed",
            {"user": user_id, "workspace": workspace_id},
        )
        return [row["principal"] for row in rows]

    # Requests

    async def asked_for(self, node_id: UUID, kind: str) -> Row | None:
        """The workspace of a folder or document somebody wants access to, whether they may know of it or not."""
        return await self.transaction.one(
            "SELECT workspace_id FROM documents.place_of(%(id)s, %(kind)s)", {"id": node_id, "kind": kind}
        )

    async def ask(self, request: Mapping[str, Any]) -> bool:
        """Keep a request; False if this user has an open one for it."""
        row = await self.transaction.one(
            "INSERT INTO documents.access_request (id, workspace_id, node_id, user_id, role, message) "
            "VALUES (%(id)s, %(workspace_id)s, %(node_id)s, %(user_id)s, %(role)s, %(message)s) "
            "ON CONFLICT DO NOTHING RETURNING id",
            request,
        )
        return row is not None

    async def requests_for(self, node_id: UUID, after: UUID | None, limit: int) -> list[Row]:
        """Open requests, oldest first; one more than `limit`."""
        return await self.transaction.all(
            "SELECT r.id, r.node_id, r.user_id, r.role, r.message, r.created_at, u.display_name "
            "FROM documents.access_request r LEFT JOIN documents.access_user u ON u.user_id = r.user_id "
            "WHERE r.node_id = %(node)s AND r.decided_at IS NULL AND (%(after)s::uuid IS NULL OR r.id > %(after)s) "
            "ORDER BY r.id LIMIT %(limit)s",
            {"node": node_id, "after": after, "limit": limit + 1},
        )

    async def request(self, request_id: UUID, node_id: UUID) -> Row | None:
        """An open request."""
        return await self.transaction.one(
            "SELECT user_id, role FROM documents.access_request "
            "WHERE id = %(id)s AND node_id = %(node)s AND decided_at IS NULL",
            {"id": request_id, "node": node_id},
        )

    async def decide(self, request_id: UUID, node_id: UUID, decided_by: UUID, *, approved: bool) -> Row | None:
        """Close an open request; None if there is none."""
        return await self.transaction.one(
            "UPDATE documents.access_request SET decided_at = now(), decided_by = %(by)s, approved = %(approved)s "
            "WHERE id = %(id)s AND node_id = %(node)s AND decided_at IS NULL RETURNING *",
            {"id": request_id, "node": node_id, "by": decided_by, "approved": approved},
        )

    async def record(self, event: Event, aggregate_id: UUID, version: int) -> None:
        """Write an event to the outbox."""
        await messaging.record(
            self.transaction, SCHEMA, event, aggregate_id=aggregate_id, aggregate_version=version,
            principal=self._principal,
        )  # fmt: skip
