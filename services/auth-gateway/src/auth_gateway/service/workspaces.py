"""Workspaces, members and invitations: who belongs where, as what."""

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from common import pagination
from common.access import Action, Role, allows, at_least
from common.auth import Principal, digest
from common.contracts.auth_gateway import (
    InvitationAccepted,
    InvitationCreated,
    InvitationRevoked,
    MembershipChanged,
    WorkspaceCreated,
    WorkspaceUpdated,
    membership_id,
)
from common.database import Row
from common.errors import PreconditionFailedError
from common.identifiers import uuid7
from common.revocations import Announcer

from .. import domain
from ..errors import (
    AlreadyInvitedError,
    AlreadyMemberError,
    InvitationForOtherError,
    InvitationGoneError,
    InvitationNotFoundError,
    LastOwnerError,
    MemberNotFoundError,
    RoleInsufficientError,
    WorkspaceNotFoundError,
)
from ..mail import Mailer, compose
from ..repository import AccountRepository, WorkspaceRepository
from .accounts import deliver, note_verified
from .facts import invitation_by, refuse_closed


@dataclass(frozen=True, slots=True)
class InvitationTerms:
    """The settings invitations follow."""

    lifetime: timedelta
    app_url: str
    mail_from: str


class WorkspaceService:
    """Workspaces of one caller in one request."""

    def __init__(
        self,
        workspaces: WorkspaceRepository,
        accounts: AccountRepository,
        announcer: Announcer,
        mailer: Mailer,
        terms: InvitationTerms,
        principal: Principal,
        limit_invitations: Callable[[str], Awaitable[None]],
    ) -> None:
        self._workspaces = workspaces
        self._accounts = accounts
        self._announcer = announcer
        self._mailer = mailer
        self._terms = terms
        self._principal = principal
        self._limit_invitations = limit_invitations

    @property
    def _me(self) -> UUID:
        return self._principal.user_id

    async def create(self, name: str) -> Row:
        """Open a workspace; its creator becomes the owner."""
        workspace_id = uuid7()
        await self._workspaces.create(workspace_id, name, self._me)
        event = WorkspaceCreated(workspace_id=workspace_id, name=name, version=1)
        await self._workspaces.record(event, workspace_id, 1, self._principal)
        await self._set_member(workspace_id, self._me, "owner")
        return await self.get(workspace_id)

    async def get(self, workspace_id: UUID) -> Row:
        """A workspace of the caller's. Raises `WorkspaceNotFoundError`."""
        workspace = await self._workspaces.find(workspace_id, self._me)
        if workspace is None:
            raise WorkspaceNotFoundError
        return workspace

    async def list_page(self, cursor: str | None, limit: int) -> tuple[list[Row], str | None]:
        """A page of the caller's workspaces, by name."""
        after = pagination.decode(cursor, str, UUID) if cursor else None
        return pagination.page(await self._workspaces.list_of(self._me, after, limit), limit, "name", "id")

    async def rename(self, workspace_id: UUID, name: str, base: int | None) -> Row:
        """Change the name; with `base`, only if nobody changed the workspace since. Raises `RoleInsufficientError`."""
        workspace = await self._lock_and_require(workspace_id, Action.MANAGE)
        if base is not None and base != workspace["version"]:
            raise PreconditionFailedError(version=workspace["version"])
        if changed := await self._workspaces.rename(workspace_id, name):
            event = WorkspaceUpdated(workspace_id=workspace_id, name=name, version=changed["version"])
            await self._workspaces.record(event, workspace_id, changed["version"], self._principal)
        return await self.get(workspace_id)

    async def list_members(self, workspace_id: UUID, cursor: str | None, limit: int) -> tuple[list[Row], str | None]:
        """A page of members, in the order they joined."""
        await self.get(workspace_id)
        after = pagination.decode(cursor, datetime.fromisoformat, UUID) if cursor else None
        rows = await self._workspaces.list_members(workspace_id, after, limit)
        return pagination.page(rows, limit, "joined_at", "user_id")

    async def set_role(self, workspace_id: UUID, user_id: UUID, role: str) -> Row:
        """Give a member another role.

        Raises `RoleInsufficientError`, `MemberNotFoundError`, `LastOwnerError`.
        """
        actor = await self._lock_and_require(workspace_id, Action.READ)
        member = await self._member(workspace_id, user_id)
        if not domain.may_set_role(actor["role"], member["role"], role):
            raise RoleInsufficientError
        if member["role"] != role:
            await self._keep_an_owner(workspace_id, member)
            await self._revoke_invitations_beyond(workspace_id, user_id, role)
            await self._set_member(workspace_id, user_id, role)
        return await self._workspaces.get_member(workspace_id, user_id)

    async def remove_member(self, workspace_id: UUID, user_id: UUID) -> None:
        """End a membership, also one's own; its rights end everywhere within a second.

        Raises `RoleInsufficientError`, `MemberNotFoundError`, `LastOwnerError`.
        """
        actor = await self._lock_and_require(workspace_id, Action.READ)
        member = await self._member(workspace_id, user_id)
        if not domain.may_remove(actor["role"], member["role"], oneself=user_id == self._me):
            raise RoleInsufficientError
        await self._keep_an_owner(workspace_id, member)
        await self._revoke_invitations_beyond(workspace_id, user_id, None)
        await self._set_member(workspace_id, user_id, member["role"], removed=True)

    async def invite(self, workspace_id: UUID, email: str, role: str) -> Row:
        """Mail somebody an invitation.

        Raises `RoleInsufficientError`, `AlreadyMemberError`, `AlreadyInvitedError`, `RateLimitedError`.
        """
        workspace = await self._lock_and_require(workspace_id, Action.INVITE)
        if not domain.may_invite_as(workspace["role"], role):
            raise RoleInsufficientError("nobody can invite above the own role")
        if await self._workspaces.find_member_by_email(workspace_id, email):
            raise AlreadyMemberError
        if await self._workspaces.find_open_invitation(workspace_id, email):
            raise AlreadyInvitedError
        await self._limit_invitations(email)  # last: what is refused anyway costs no mail
        secret = secrets.token_urlsafe(32)
        invitation: dict[str, Any] = {
            "id": uuid7(),
            "workspace_id": workspace_id,
            "email": email,
            "role": role,
            "token_hash": digest(secret),
            "invited_by": self._me,
        }
        await self._workspaces.create_invitation(invitation, self._terms.lifetime)
        event = InvitationCreated(invitation_id=invitation["id"], workspace_id=workspace_id, role=role)
        await self._workspaces.record(event, invitation["id"], 1, self._principal)
        await self._mail_invitation(email, workspace["name"], secret)
        return await self._invitation(workspace_id, invitation["id"])

    async def list_invitations(
        self, workspace_id: UUID, cursor: str | None, limit: int
    ) -> tuple[list[Row], str | None]:
        """A page of invitations, newest first. Raises `RoleInsufficientError`."""
        await self._require(workspace_id, Action.INVITE)
        after = pagination.decode(cursor, UUID)[0] if cursor else None
        return pagination.page(await self._workspaces.list_invitations(workspace_id, after, limit), limit, "id")

    async def revoke_invitation(self, workspace_id: UUID, invitation_id: UUID) -> None:
        """Withdraw an open invitation; of a closed one nothing is left to do. Raises `InvitationNotFoundError`."""
        await self._require(workspace_id, Action.INVITE)
        await self._invitation(workspace_id, invitation_id)
        if await self._workspaces.close_invitation(invitation_id, accepted_by=None):
            await self._record_revoked(workspace_id, invitation_id)

    async def accept_invitation(self, token: str) -> Row:
        """Become a member; the mailed link also proves the address. Accepting twice changes nothing.

        Raises `InvitationNotFoundError`, `InvitationGoneError`, `InvitationForOtherError`.
        """
        await self._workspaces.lock_invitation(digest(token))
        invitation = await invitation_by(self._workspaces, token)
        account = await self._accounts.get(self._me)
        if account["email"] != invitation["email"]:
            raise InvitationForOtherError
        workspace_id = invitation["workspace_id"]
        if invitation["accepted_by"] == self._me:
            return await self.get(workspace_id)
        refuse_closed(invitation)
        member = await self._workspaces.find_member(workspace_id, self._me)
        if member is None or member["removed"] or not at_least(member["role"], invitation["role"]):
            try:
                await self._set_member(workspace_id, self._me, invitation["role"])
            except PermissionError as error:  # closed since we read it: row-level security looks again
                raise InvitationGoneError from error
        if not await self._workspaces.close_invitation(invitation["id"], accepted_by=self._me):
            raise InvitationGoneError
        await note_verified(self._accounts, self._me, invitation["email"], self._principal)
        event = InvitationAccepted(invitation_id=invitation["id"], workspace_id=workspace_id, user_id=self._me)
        await self._workspaces.record(event, invitation["id"], 2, self._principal)
        return await self.get(workspace_id)

    async def _require(self, workspace_id: UUID, action: Action) -> Row:
        workspace = await self.get(workspace_id)
        if not allows(workspace["role"], action):
            raise RoleInsufficientError
        return workspace

    async def _lock_and_require(self, workspace_id: UUID, action: Action) -> Row:
        """Lock first: the right may go while we wait."""
        await self._workspaces.lock(workspace_id)
        return await self._require(workspace_id, action)

    async def _member(self, workspace_id: UUID, user_id: UUID) -> Row:
        member = await self._workspaces.find_member(workspace_id, user_id)
        if member is None or member["removed"]:
            raise MemberNotFoundError
        return member

    async def _keep_an_owner(self, workspace_id: UUID, member: Row) -> None:
        if member["role"] == "owner" and await self._workspaces.count_owners(workspace_id) == 1:
            raise LastOwnerError

    async def _revoke_invitations_beyond(self, workspace_id: UUID, user_id: UUID, role: str | None) -> None:
        """Withdraw open invitations this member could not make with the new role; None: no member any more.

        Before the membership changes: who leaves could not withdraw them afterwards.
        """
        kept = [other.value for other in Role if role is not None and domain.may_invite_as(role, other)]
        for invitation_id in await self._workspaces.revoke_invitations_by(workspace_id, user_id, kept):
            await self._record_revoked(workspace_id, invitation_id)

    async def _record_revoked(self, workspace_id: UUID, invitation_id: UUID) -> None:
        event = InvitationRevoked(invitation_id=invitation_id, workspace_id=workspace_id)
        await self._workspaces.record(event, invitation_id, 2, self._principal)

    async def _set_member(self, workspace_id: UUID, user_id: UUID, role: str, *, removed: bool = False) -> None:
        version = await self._workspaces.set_member(workspace_id, user_id, role, removed=removed)
        event = MembershipChanged(
            workspace_id=workspace_id, user_id=user_id, role=role, removed=removed, version=version
        )
        await self._workspaces.record(event, membership_id(workspace_id, user_id), version, self._principal)
        await self._announcer.members_changed(self._workspaces.transaction, "member", workspace_id, [user_id], version)

    async def _invitation(self, workspace_id: UUID, invitation_id: UUID) -> Row:
        invitation = await self._workspaces.find_invitation(workspace_id, invitation_id)
        if invitation is None:
            raise InvitationNotFoundError
        return invitation

    async def _mail_invitation(self, email: str, workspace: str, secret: str) -> None:
        link = f"{self._terms.app_url}/invitations/{secret}"
        text = f'You are invited to the workspace "{workspace}". Open this link to join:\n\n{link}\n'
        message = compose(self._terms.mail_from, email, f"Invitation to {workspace}", text)

        async def send() -> None:
            await deliver(self._mailer, message)

        self._workspaces.transaction.after_commit.append(send)
