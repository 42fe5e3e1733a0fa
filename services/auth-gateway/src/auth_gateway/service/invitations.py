"""Invitations: mailed, listed, renewed, withdrawn, accepted."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from email.message import EmailMessage
from typing import Any
from uuid import UUID

from common import pagination
from common.access import Action, at_least
from common.auth import digest
from common.contracts.auth_gateway import InvitationAccepted, InvitationCreated
from common.database import Row
from common.errors import RateLimitedError
from common.identifiers import uuid7

from .. import domain
from ..errors import (
    AlreadyInvitedError,
    AlreadyMemberError,
    InvitationForOtherError,
    InvitationGoneError,
    InvitationNotFoundError,
    RoleInsufficientError,
)
from ..mail import Mailer, compose
from ..repository import AccountRepository, InvitationRepository, MemberRepository
from ..schemas import InvitationCreate
from .addresses import deliver, note_verified
from .facts import invitation_by, refuse_closed
from .memberships import Memberships

REFUSALS = (RoleInsufficientError, AlreadyMemberError, AlreadyInvitedError, RateLimitedError)


@dataclass(frozen=True, slots=True)
class InvitationTerms:
    """The settings invitations follow."""

    lifetime: timedelta
    app_url: str
    mail_from: str


class InvitationService:
    """Invitations to the caller's workspaces, and of the caller to others."""

    def __init__(
        self,
        invitations: InvitationRepository,
        members: MemberRepository,
        accounts: AccountRepository,
        memberships: Memberships,
        mailer: Mailer,
        terms: InvitationTerms,
        limit_invitations: Callable[[str], Awaitable[None]],
    ) -> None:
        self._invitations = invitations
        self._members = members
        self._accounts = accounts
        self._memberships = memberships
        self._mailer = mailer
        self._terms = terms
        self._limit_invitations = limit_invitations
        self._mails: list[EmailMessage] = []

    async def invite(self, workspace_id: UUID, wanted: InvitationCreate) -> Row:
        """Mail somebody an invitation.

        Raises `RoleInsufficientError`, `AlreadyMemberError`, `AlreadyInvitedError`, `RateLimitedError`.
        """
        workspace = await self._memberships.lock_and_require(workspace_id, Action.INVITE)
        return await self._invite(workspace, wanted)

    async def invite_all(self, workspace_id: UUID, wanted: Sequence[InvitationCreate]) -> list[dict[str, Any]]:
        """Mail several invitations; what came of each. Raises `RoleInsufficientError` for who may invite nobody."""
        workspace = await self._memberships.lock_and_require(workspace_id, Action.INVITE)
        return [await self._try_to_invite(workspace, one) for one in wanted]

    async def _try_to_invite(self, workspace: Row, wanted: InvitationCreate) -> dict[str, Any]:
        try:
            invitation = await self._invite(workspace, wanted)
        except REFUSALS as error:
            return {"email": wanted.email, "result": error.code}
        return {"email": wanted.email, "result": "invited", "invitation": invitation}

    async def _invite(self, workspace: Row, wanted: InvitationCreate) -> Row:
        email, role = wanted.email, wanted.role.value
        await self._check(workspace, email, role)
        secret = secrets.token_urlsafe(32)
        invitation: dict[str, Any] = {
            "id": uuid7(),
            "workspace_id": workspace["id"],
            "email": email,
            "role": role,
            "token_hash": digest(secret),
            "invited_by": self._memberships.me,
        }
        days = wanted.expires_in_days
        await self._invitations.create(invitation, timedelta(days=days) if days else self._terms.lifetime)
        event = InvitationCreated(invitation_id=invitation["id"], workspace_id=workspace["id"], role=role)
        await self._memberships.record(event, invitation["id"], 1)
        self._mail(email, workspace["name"], secret)
        return await self._invitation(workspace["id"], invitation["id"])

    async def _check(self, workspace: Row, email: str, role: str, *, renewed: UUID | None = None) -> None:
        if not domain.may_invite_as(workspace["role"], role):
            raise RoleInsufficientError("nobody can invite above the own role")
        if await self._members.find_by_email(workspace["id"], email):
            raise AlreadyMemberError
        open_one = await self._invitations.find_open(workspace["id"], email)
        if open_one and open_one["id"] != renewed:
            raise AlreadyInvitedError
        await self._limit_invitations(email)  # last: what is refused anyway costs no mail

    async def list_page(self, workspace_id: UUID, cursor: str | None, limit: int) -> tuple[list[Row], str | None]:
        """A page of invitations, newest first. Raises `RoleInsufficientError`."""
        await self._memberships.require(workspace_id, Action.INVITE)
        after = pagination.decode(cursor, UUID)[0] if cursor else None
        return pagination.page(await self._invitations.list_page(workspace_id, after, limit), limit, "id")

    async def resend(self, workspace_id: UUID, invitation_id: UUID) -> Row:
        """Mail an open or expired invitation again, with another secret and the usual time to accept it.

        Raises `InvitationNotFoundError`, `InvitationGoneError`, and what `invite` raises.
        """
        workspace = await self._memberships.lock_and_require(workspace_id, Action.INVITE)
        invitation = await self._invitation(workspace_id, invitation_id)
        if invitation["accepted_at"] or invitation["revoked_at"]:
            raise InvitationGoneError
        await self._check(workspace, invitation["email"], invitation["role"], renewed=invitation_id)
        secret = secrets.token_urlsafe(32)
        if not await self._invitations.renew(invitation_id, digest(secret), self._terms.lifetime):
            raise InvitationGoneError
        self._mail(invitation["email"], workspace["name"], secret)
        return await self._invitation(workspace_id, invitation_id)

    async def revoke(self, workspace_id: UUID, invitation_id: UUID) -> None:
        """Withdraw an open invitation; of a closed one nothing is left to do. Raises `InvitationNotFoundError`."""
        await self._memberships.require(workspace_id, Action.INVITE)
        await self._invitation(workspace_id, invitation_id)
        if await self._invitations.close(invitation_id, accepted_by=None):
            await self._memberships.record_revoked(workspace_id, invitation_id)

    async def accept(self, token: str) -> Row:
        """Become a member; the mailed link also proves the address. Accepting twice changes nothing.

        Raises `InvitationNotFoundError`, `InvitationGoneError`, `InvitationForOtherError`.
        """
        account = await self._accounts.get(self._memberships.me)
        invitation = await self.claim(token, account["email"])
        if invitation["accepted_by"] != self._memberships.me:
            await self.join(invitation)
        return await self._memberships.get(invitation["workspace_id"])

    async def claim(self, token: str, email: str) -> Row:
        """The invitation to this address, which nobody else can accept until the transaction ends.

        Raises `InvitationNotFoundError`, `InvitationGoneError`, `InvitationForOtherError`.
        """
        await self._invitations.lock(digest(token))
        invitation = await invitation_by(self._invitations, token)
        if email != invitation["email"]:
            raise InvitationForOtherError
        if invitation["accepted_by"] != self._memberships.me:
            refuse_closed(invitation)
        return invitation

    async def join(self, invitation: Row) -> None:
        """Become a member by a claimed invitation; it raises a role but never lowers one.

        Raises `InvitationGoneError`, also for whoever is suspended.
        """
        workspace_id, me = invitation["workspace_id"], self._memberships.me
        member = await self._members.find(workspace_id, me)
        if member is None or member["removed"] or not at_least(member["role"], invitation["role"]):
            try:
                await self._memberships.begin(workspace_id, me, invitation["role"])
            except PermissionError as error:  # closed since we read it: row-level security looks again
                raise InvitationGoneError from error
        if not await self._invitations.close(invitation["id"], accepted_by=me):
            raise InvitationGoneError
        await note_verified(self._accounts, me, invitation["email"], self._memberships.principal)
        event = InvitationAccepted(invitation_id=invitation["id"], workspace_id=workspace_id, user_id=me)
        await self._memberships.record(event, invitation["id"], 2)

    async def _invitation(self, workspace_id: UUID, invitation_id: UUID) -> Row:
        invitation = await self._invitations.find(workspace_id, invitation_id)
        if invitation is None:
            raise InvitationNotFoundError
        return invitation

    def _mail(self, email: str, workspace: str, secret: str) -> None:
        link = f"{self._terms.app_url}/invitations/{secret}"
        text = f'You are invited to the workspace "{workspace}". Open this link to join:\n\n{link}\n'
        if not self._mails:
            self._invitations.transaction.after_commit.append(self._send)
        self._mails.append(compose(self._terms.mail_from, email, f"Invitation to {workspace}", text))

    async def _send(self) -> None:
        await asyncio.gather(*(deliver(self._mailer, message) for message in self._mails))
