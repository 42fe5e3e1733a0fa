"""Who may do what: the decision function all services share, and the projection of memberships they decide by."""

import time
from collections.abc import Mapping
from enum import StrEnum
from typing import Any
from uuid import UUID

from common.auth import Revocations
from common.client import InternalClient, PeerNotFoundError
from common.database import Database, Transaction

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


class MembershipProjection:
    """This service's copy of memberships, read through to auth-gateway on a miss or when known to be too old."""

    def __init__(self, database: Database, client: InternalClient, revocations: Revocations, schema: str) -> None:
        self._database = database
        self._client = client
        self._revocations = revocations
        self._table = f"{schema}.access_member"
        self._strangers: dict[tuple[UUID, UUID], float] = {}
        self._confirmed: dict[tuple[str, str], int] = {}

    async def refresh_changed(self, user_id: UUID) -> None:
        """Before deciding: read through every membership whose change was announced and is newer than ours.

        Raises `PeerUnavailableError`: a changed right that cannot be confirmed is denied for now, never assumed.
        """
        for workspace, version in self._revocations.member_versions(user_id).items():
            if self._confirmed.get((str(user_id), workspace), 0) < version:
                await self.learn(user_id, UUID(workspace))

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
                await self.keep(transaction, fact)
            self._confirmed[str(user_id), str(workspace_id)] = fact["version"]
        else:
            await self._forget(user_id, workspace_id)
        member = bool(fact) and not fact["removed"]
        if not member:
            self._remember_stranger(pair)
        return member

    async def keep(self, transaction: Transaction, fact: Mapping[str, Any]) -> None:
        """Store a membership fact; a lower version never overwrites a higher one."""
        await transaction.execute(
            f"INSERT INTO {self._table} AS known (workspace_id, user_id, role, version, removed) "
            "VALUES (%(workspace_id)s, %(user_id)s, %(role)s, %(version)s, %(removed)s) "
            "ON CONFLICT (user_id, workspace_id) DO UPDATE "
            "SET role = excluded.role, version = excluded.version, removed = excluded.removed "
            "WHERE known.version < excluded.version",
            fact,
        )

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
