"""Facts about rights as their owners publish them, and how a service keeps its copies of them.

Owners publish facts, not products: memberships, groups and workspaces by auth-gateway, access roots with their grants
by documents. Each is whole and versioned; a lower version never overwrites a higher one.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import orjson

from common.contracts.auth_gateway import (
    GroupCreated,
    GroupDeleted,
    GroupMembersChanged,
    GroupUpdated,
    MembershipChanged,
    UserRegistered,
    UserUpdated,
    WorkspaceCreated,
    WorkspaceDeleted,
    WorkspaceRestored,
    WorkspaceUpdated,
)
from common.contracts.documents import RootChanged
from common.database import Transaction
from common.messaging import Envelope, Subscriber, read

Fact = Mapping[str, Any]

_SQL_TYPES: Final = {
    "user_id": "uuid", "workspace_id": "uuid", "group_id": "uuid", "version": "bigint", "removed": "boolean"
}  # fmt: skip


class Projections:
    """A service's copies of memberships, groups, workspaces, users and access roots, kept by events.

    The owner of access roots keeps those itself and takes no events about them (`owns_roots`).
    """

    def __init__(self, schema: str, *, owns_roots: bool = False) -> None:
        self._schema = schema
        self._member = _upsert(schema, "access_member", ("user_id", "workspace_id"), ("role", "removed"))
        self._workspace = _upsert(schema, "access_workspace", ("workspace_id",), ("name", "removed"))
        self._user = _upsert(schema, "access_user", ("user_id",), ("display_name",))
        self._group = _upsert(schema, "access_group", ("group_id",), ("workspace_id", "name", "removed"))
        self._group_member = _upsert(
            schema, "access_group_member", ("user_id", "group_id"), ("workspace_id", "removed")
        )
        self.subscribers = [
            Subscriber((MembershipChanged.type,), self._members_changed),
            Subscriber(
                (WorkspaceCreated.type, WorkspaceUpdated.type, WorkspaceDeleted.type, WorkspaceRestored.type),
                self._workspaces_changed,
            ),
            Subscriber((UserRegistered.type, UserUpdated.type), self._users_changed),
            Subscriber((GroupCreated.type, GroupUpdated.type, GroupDeleted.type), self._groups_changed),
            Subscriber((GroupMembersChanged.type,), self._group_members_changed),
        ]
        if not owns_roots:
            self.subscribers.append(Subscriber((RootChanged.type,), self._roots_changed))

    async def keep_members(self, transaction: Transaction, facts: Sequence[Fact]) -> None:
        """Store memberships: user_id, workspace_id, role, removed, version."""
        await _keep(transaction, self._member, facts, "user_id", "workspace_id")

    async def keep_group_members(self, transaction: Transaction, facts: Sequence[Fact]) -> None:
        """Store who is in a group: user_id, group_id, workspace_id, removed, version."""
        await _keep(transaction, self._group_member, facts, "user_id", "group_id")

    async def keep_workspaces(self, transaction: Transaction, facts: Sequence[Fact]) -> None:
        """Store workspaces: workspace_id, name, removed, version; what else is told of them, a service may keep."""
        named = [{name: fact[name] for name in ("workspace_id", "name", "removed", "version")} for fact in facts]
        await _keep(transaction, self._workspace, named, "workspace_id")

    async def keep_roots(self, transaction: Transaction, facts: Sequence[Fact]) -> None:
        """Store access roots with their grants, as `RootChanged` has them.

        Two statements: once the rows are locked, what others have written is seen and replaced whole.
        """
        newest = newest_of(facts, "root_id")
        if not newest:
            return
        rows = orjson.dumps(newest).decode()
        fresh = await transaction.all(
            f"INSERT INTO {self._schema}.access_root AS known "
            "(root_id, workspace_id, kind, parent_id, inherits, removed, version) "
            "SELECT * FROM json_to_recordset(%(rows)s::json) AS told (root_id uuid, workspace_id uuid, kind text, "
            "parent_id uuid, inherits boolean, removed boolean, version bigint) ORDER BY root_id "
            "ON CONFLICT (root_id) DO UPDATE SET (workspace_id, kind, parent_id, inherits, removed, version) = "
            "(excluded.workspace_id, excluded.kind, excluded.parent_id, excluded.inherits, excluded.removed, "
            "excluded.version) WHERE known.version < excluded.version RETURNING root_id",
            {"rows": rows},
        )
        if fresh:
            await transaction.execute(
                f"""
                WITH given AS (
                    SELECT told.root_id, split_part(g.key, ':', 1) AS kind, split_part(g.key, ':', 2)::uuid AS id,
                           g.value AS role
                    FROM json_to_recordset(%(rows)s::json) AS told (root_id uuid, grants jsonb),
                         jsonb_each_text(told.grants) AS g WHERE told.root_id = ANY(%(fresh)s)
                ), gone AS (
                    DELETE FROM {self._schema}.access_grant AS known WHERE known.root_id = ANY(%(fresh)s) AND NOT EXISTS
                        (SELECT 1 FROM given WHERE given.root_id = known.root_id AND given.id = known.principal_id)
                )
                INSERT INTO {self._schema}.access_grant (root_id, principal_id, kind, role)
                SELECT root_id, id, kind, role FROM given
                ON CONFLICT (root_id, principal_id) DO UPDATE SET role = excluded.role""",
                {"rows": rows, "fresh": [row["root_id"] for row in fresh]},
            )

    async def _members_changed(self, transaction: Transaction, events: Sequence[Envelope]) -> None:
        await self.keep_members(transaction, [read(event, MembershipChanged).model_dump() for event in events])

    async def _workspaces_changed(self, transaction: Transaction, events: Sequence[Envelope]) -> None:
        await self.keep_workspaces(transaction, [_removable(event, WorkspaceUpdated) for event in events])

    async def _groups_changed(self, transaction: Transaction, events: Sequence[Envelope]) -> None:
        await _keep(transaction, self._group, [_removable(event, GroupUpdated) for event in events], "group_id")

    async def _users_changed(self, transaction: Transaction, events: Sequence[Envelope]) -> None:
        facts = [{**read(event, UserRegistered).model_dump(), "version": event.version} for event in events]
        await _keep(transaction, self._user, facts, "user_id")

    async def _group_members_changed(self, transaction: Transaction, events: Sequence[Envelope]) -> None:
        facts = []
        for event in events:
            told = read(event, GroupMembersChanged)
            common = {"group_id": told.group_id, "workspace_id": told.workspace_id, "version": told.version}
            facts += [{"user_id": user, "removed": False, **common} for user in told.added]
            facts += [{"user_id": user, "removed": True, **common} for user in told.removed]
        await self.keep_group_members(transaction, facts)

    async def _roots_changed(self, transaction: Transaction, events: Sequence[Envelope]) -> None:
        await self.keep_roots(transaction, [read(event, RootChanged).model_dump(mode="json") for event in events])


def _removable(event: Envelope, kind: type[WorkspaceUpdated | GroupUpdated]) -> Fact:
    return {**read(event, kind).model_dump(exclude_unset=True), "removed": event.type.endswith(".deleted.v1")}


async def _keep(transaction: Transaction, statement: str, facts: Iterable[Fact], *key: str) -> None:
    newest = newest_of(facts, *key)
    if newest:
        await transaction.execute(statement, {name: [fact[name] for fact in newest] for name in newest[0]})


def _upsert(schema: str, table: str, key: Sequence[str], values: Sequence[str]) -> str:
    columns = [*key, *values, "version"]
    arrays = ", ".join(f"%({name})s::{_SQL_TYPES.get(name, 'text')}[]" for name in columns)
    changes = ", ".join(f"{name} = excluded.{name}" for name in (*values, "version"))
    return (
        f"INSERT INTO {schema}.{table} AS known ({', '.join(columns)}) "
        f"SELECT * FROM unnest({arrays}) AS told ({', '.join(columns)}) "
        f"ORDER BY {', '.join(key)} "  # two consumers lock rows in the same order
        f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {changes} WHERE known.version < excluded.version"
    )


def newest_of(facts: Iterable[Fact], *key: str) -> list[Fact]:
    """The fact of the highest version for each key: one statement cannot change a row twice."""
    newest: dict[tuple[Any, ...], Fact] = {}
    for fact in facts:
        place = tuple(fact[name] for name in key)
        if place not in newest or newest[place]["version"] < fact["version"]:
            newest[place] = fact
    return list(newest.values())
