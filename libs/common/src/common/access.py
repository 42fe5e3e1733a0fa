"""Who may do what: the decision function all services share, and the projections they decide by."""

import time
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any
from uuid import UUID

from common.auth import Revocations
from common.client import InternalClient, PeerNotFoundError
from common.contracts.auth_gateway import (
    MembershipChanged,
    UserRegistered,
    UserUpdated,
    WorkspaceCreated,
    WorkspaceUpdated,
)
from common.database import Database, Transaction
from common.messaging import Envelope, Subscriber, read

NEGATIVE_SECONDS = 1.0


class Role(StrEnum):
    """Workspace roles, strongest first."""

    OWNER = "owner"
    ADMIN = "admin"
    EDITOR = "editor"
    COMMENTER = "commenter"
    VIEWER = "viewer"


class Action(StrEnum):
    """What somebody may want to do with what lies under an access root."""

    READ = "read"
    COMMENT = "comment"
    EDIT = "edit"
    DELETE = "delete"
    INVITE = "invite"
    MANAGE = "manage"
    OWN = "own"


_NEEDS: Mapping[Action, Role] = {
    Action.READ: Role.VIEWER,
    Action.COMMENT: Role.COMMENTER,
    Action.EDIT: Role.EDITOR,
    Action.DELETE: Role.EDITOR,
    Action.INVITE: Role.ADMIN,
    Action.MANAGE: Role.ADMIN,
    Action.OWN: Role.OWNER,
}
_RANK = {role: rank for rank, role in enumerate(reversed(Role))}


def allows(role: str | None, action: Action) -> bool:
    """The decision function: whether `role` (None: no member) suffices for `action`."""
    return role is not None and _RANK[Role(role)] >= _RANK[_NEEDS[action]]


def at_least(role: str, other: str) -> bool:
    """Whether `role` is as strong as `other`."""
    return _RANK[Role(role)] >= _RANK[Role(other)]


def roles_allowing(action: Action) -> list[str]:
    """Roles that suffice for `action`: the decision function as an SQL parameter."""
    return [role.value for role in Role if allows(role, action)]


_ABILITIES = {role.value: {action.value: allows(role, action) for action in Action} for role in Role}


def abilities(role: str) -> dict[str, bool]:
    """What a read tells the client it may do, so that a UI need not guess."""
    return _ABILITIES[role]


Fact = Mapping[str, Any]


class Projections:
    """A service's copies of memberships, workspaces and users, kept by events; a lower version never overwrites."""

    def __init__(self, schema: str) -> None:
        self._member = _upsert(schema, "access_member", ("user_id", "workspace_id"), ("role", "removed"))
        self._workspace = _upsert(schema, "access_workspace", ("workspace_id",), ("name",))
        self._user = _upsert(schema, "access_user", ("user_id",), ("display_name",))
        self.subscribers = [
            Subscriber((MembershipChanged.type,), self._members_changed),
            Subscriber((WorkspaceCreated.type, WorkspaceUpdated.type), self._workspaces_changed),
            Subscriber((UserRegistered.type, UserUpdated.type), self._users_changed),
        ]

    async def keep_member(self, transaction: Transaction, fact: Fact) -> None:
        """Store a membership the owner told of."""
        await transaction.execute(self._member, _columns([fact]))

    async def _members_changed(self, transaction: Transaction, events: Sequence[Envelope]) -> None:
        facts = [read(event, MembershipChanged).model_dump() for event in events]
        await transaction.execute(self._member, _columns(_newest(facts, "user_id", "workspace_id")))

    async def _workspaces_changed(self, transaction: Transaction, events: Sequence[Envelope]) -> None:
        facts = [read(event, WorkspaceUpdated).model_dump() for event in events]
        await transaction.execute(self._workspace, _columns(_newest(facts, "workspace_id")))

    async def _users_changed(self, transaction: Transaction, events: Sequence[Envelope]) -> None:
        facts = [{**read(event, UserRegistered).model_dump(), "version": event.version} for event in events]
        await transaction.execute(self._user, _columns(_newest(facts, "user_id")))


_SQL_TYPES = {"user_id": "uuid", "workspace_id": "uuid", "version": "bigint", "removed": "boolean"}


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


def _newest(facts: Iterable[Fact], *key: str) -> list[Fact]:
    """The fact of the highest version for each key: one statement cannot change a row twice."""
    newest: dict[tuple[Any, ...], Fact] = {}
    for fact in facts:
        place = tuple(fact[name] for name in key)
        if place not in newest or newest[place]["version"] < fact["version"]:
            newest[place] = fact
    return list(newest.values())


def _columns(facts: Sequence[Fact]) -> dict[str, list[Any]]:
    return {name: [fact[name] for fact in facts] for name in facts[0]}


class MembershipProjection:
    """The copy of memberships to decide by, read through to auth-gateway on a miss or when known to be too old."""

    def __init__(self, database: Database, client: InternalClient, revocations: Revocations, schema: str) -> None:
        self._database = database
        self._client = client
        self._revocations = revocations
        self._table = f"{schema}.access_member"
        self._projections = Projections(schema)
        self._strangers: dict[tuple[UUID, UUID], float] = {}
        self._confirmed: dict[str, dict[str, int]] = {}

    async def refresh_changed(self, user_id: UUID) -> None:
        """Before deciding: read through every membership whose change was announced and is newer than ours.

        Raises `PeerUnavailableError`: a changed right that cannot be confirmed is denied for now, never assumed.
        """
        announced = self._revocations.member_versions(user_id)
        if self._behind(user_id, announced):
            await self._confirm_projected(user_id)
            for workspace in self._behind(user_id, announced):
                await self.learn(user_id, UUID(workspace))

    def _behind(self, user_id: UUID, announced: Mapping[str, int]) -> list[str]:
        confirmed = self._confirmed.get(str(user_id), {})
        return [workspace for workspace, version in announced.items() if confirmed.get(workspace, 0) < version]

    async def _confirm_projected(self, user_id: UUID) -> None:
        """Events usually were faster than the question."""
        async with self._database.transaction() as transaction:
            rows = await transaction.all(
                f"SELECT workspace_id, version FROM {self._table} WHERE user_id = %(user)s", {"user": user_id}
            )
        self._confirmed.setdefault(str(user_id), {}).update({str(row["workspace_id"]): row["version"] for row in rows})

    async def learn(self, user_id: UUID, workspace_id: UUID) -> bool:
        """Ask the owner about one membership and keep the answer; whether the user is a member.

        A "no" is remembered for one second, so that a stranger costs the owner one call a second.
        """
        pair = (user_id, workspace_id)
        if self._strangers.get(pair, 0.0) > time.monotonic():
            return False
        try:
            fact = await self._client.get(
                "auth-gateway", f"/internal/workspaces/{workspace_id}/members/{user_id}", acting_user=user_id
            )
        except PeerNotFoundError:
            fact = None
        if fact:
            async with self._database.transaction() as transaction:
                await self._projections.keep_member(transaction, fact)
            self._confirmed.setdefault(str(user_id), {})[str(workspace_id)] = fact["version"]
        else:
            await self._forget(user_id, workspace_id)
        member = bool(fact) and not fact["removed"]
        if not member:
            self._remember_stranger(pair)
        return member

    async def _forget(self, user_id: UUID, workspace_id: UUID) -> None:
        """The owner knows of no such membership: what we hold of it grants nothing any more."""
        async with self._database.transaction() as transaction:
            await transaction.execute(
                f"UPDATE {self._table} SET removed = true WHERE user_id = %(user)s AND workspace_id = %(workspace)s",
                {"user": user_id, "workspace": workspace_id},
            )

    def _remember_stranger(self, pair: tuple[UUID, UUID]) -> None:
        now = time.monotonic()
        if len(self._strangers) > 10_000:  # noqa: PLR2004 - bounded memory
            self._strangers = {key: until for key, until in self._strangers.items() if until > now}
        self._strangers[pair] = now + NEGATIVE_SECONDS
