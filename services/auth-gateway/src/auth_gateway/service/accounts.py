"""Accounts and sessions: register, log in, refresh, log out, verify the address."""

import contextlib
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from common.auth import Principal, digest
from common.contracts.auth_gateway import SessionEnded, SessionOpened, UserRegistered, UserUpdated
from common.database import Row
from common.errors import RateLimitedError
from common.identifiers import uuid7
from common.revocations import Announcer

from .. import domain
from ..errors import (
    EmailTakenError,
    InvalidCredentialsError,
    RefreshInvalidError,
    RefreshReusedError,
    SessionNotFoundError,
    UserNotFoundError,
    VerificationInvalidError,
)
from ..identity import Passwords, TokenIssuer
from ..mail import Mailer, compose
from ..repository import AccountRepository
from ..schemas import Login, Register
from .addresses import deliver, note_verified
from .invitations import InvitationService


@dataclass(frozen=True, slots=True)
class Device:
    """Where a session is opened from."""

    device_id: UUID | None
    name: str | None
    client_ip: str


@dataclass(frozen=True, slots=True)
class Grant:
    """What a login or refresh gives out."""

    access_token: str
    refresh_token: str
    expires_in: int
    user: Row


@dataclass(frozen=True, slots=True)
class Terms:
    """The settings this service decides by."""

    refresh_key: str
    refresh_reuse_seconds: int
    session_lifetime: timedelta
    verification_lifetime: timedelta
    email_verification: bool
    enumeration_safe: bool
    app_url: str
    mail_from: str


class AccountService:
    """Accounts and sessions in one request."""

    def __init__(
        self,
        repository: AccountRepository,
        passwords: Passwords,
        issuer: TokenIssuer,
        announcer: Announcer,
        mailer: Mailer,
        limit_mails: Callable[[str], Awaitable[None]],
        invitations_of: Callable[[UUID], InvitationService],
        terms: Terms,
    ) -> None:
        self._repository = repository
        self._passwords = passwords
        self._issuer = issuer
        self._announcer = announcer
        self._mailer = mailer
        self._limit_mails = limit_mails
        self._invitations_of = invitations_of
        self._terms = terms

    async def register(self, body: Register) -> Row | None:
        """Open an account and mail a verification link; None in enumeration-safe mode.

        With the secret of an invitation the address counts as proven and the account belongs to the workspace at once.
        Raises `EmailTakenError` (never in enumeration-safe mode), `PasswordTooWeakError`, `TooManyPasswordsError`,
        `InvitationNotFoundError`, `InvitationGoneError`, `InvitationForOtherError`.
        """
        password_hash = await self._passwords.hash(body.password, [body.email, body.display_name, "mdcreator"])
        user_id = uuid7()
        await self._repository.act_as(user_id)
        invitations = self._invitations_of(user_id)
        # Before the address: a wrong secret must not tell whether that is taken.
        invitation = await invitations.claim(body.invitation_token, body.email) if body.invitation_token else None
        verified = invitation is not None or not self._terms.email_verification
        try:
            user = await self._repository.create(
                user_id, body.email, body.display_name, password_hash, verified=verified
            )
        except EmailTakenError:
            if not self._terms.enumeration_safe:
                raise
            await self._repository.transaction.release()
            # The one mail strangers can cause again and again. Who is limited must not learn from that either.
            with contextlib.suppress(RateLimitedError):
                await self._limit_mails(body.email)
                await self._mail(
                    body.email, "You have an account already", "Somebody tried to register with this address."
                )
            return None
        event = UserRegistered(user_id=user_id, display_name=body.display_name)
        await self._repository.record(event, user_id, 1, None)
        if invitation is not None:
            await invitations.join(invitation)
        if not verified:
            await self._send_verification(user)
        return None if self._terms.enumeration_safe else user

    async def resend_verification(self, principal: Principal) -> None:
        """Mail a new verification link unless the address is proven."""
        user = await self._repository.get(principal.user_id)
        if not user["email_verified_at"]:
            await self._send_verification(user)

    async def verify_email(self, token: str) -> None:
        """Take note that the address is proven. Raises `VerificationInvalidError`."""
        token_hash = digest(token)
        user_id = await self._repository.find_email_token_user(token_hash)
        if user_id is None:
            raise VerificationInvalidError
        await self._repository.act_as(user_id)
        email = await self._repository.take_email_token(token_hash)
        if email is None:
            raise VerificationInvalidError
        await note_verified(self._repository, user_id, email, None)

    async def login(self, body: Login, device: Device) -> Grant:
        """Open a session. Raises `InvalidCredentialsError` after the same time for an unknown address."""
        known = await self._repository.find_credentials(body.email)
        await self._repository.transaction.release()
        right = await self._passwords.verify(body.password, known["password_hash"] if known else None)
        if known is None or not right:
            raise InvalidCredentialsError
        return await self._open_session(known["id"], device)

    async def _open_session(self, user_id: UUID, device: Device) -> Grant:
        await self._repository.act_as(user_id)
        token = domain.RefreshToken(uuid7(), 1)
        refresh = token.render(self._terms.refresh_key)
        session = {
            "id": token.session_id,
            "user_id": user_id,
            "device_id": device.device_id,
            "device_name": device.name,
            "client_ip": device.client_ip,
            "amr": "pwd",
            "refresh_hash": digest(refresh),
        }
        await self._repository.create_session(session, self._terms.session_lifetime)
        event = SessionOpened(session_id=token.session_id, user_id=user_id, device_id=device.device_id, amr=["pwd"])
        await self._repository.record(event, token.session_id, 1, Principal(user_id, token.session_id, 0))
        return await self._grant(user_id, token.session_id, "pwd", refresh)

    async def refresh(self, text: str) -> Grant:
        """Rotate: the next token, or, for one replaced within the reuse window, the session's current one.

        Raises `RefreshInvalidError`; `RefreshReusedError` after ending the session.
        """
        token = domain.RefreshToken.parse(text, self._terms.refresh_key)
        user_id = await self._repository.find_session_user(token.session_id) if token else None
        if token is None or user_id is None:
            raise RefreshInvalidError
        await self._repository.act_as(user_id)
        current = token.successor()
        rotated = await self._repository.rotate(
            token.session_id,
            generation=token.generation,
            old_hash=digest(text),
            new_hash=digest(current.render(self._terms.refresh_key)),
            lifetime=self._terms.session_lifetime,
        )
        if rotated is None:
            rotated = await self._replaced_moments_ago(token)
            current = domain.RefreshToken(token.session_id, rotated["generation"])
        return await self._grant(user_id, token.session_id, rotated["amr"], current.render(self._terms.refresh_key))

    async def _replaced_moments_ago(self, token: domain.RefreshToken) -> Row:
        """The session, if this very token was current within the window, however often it was rotated since."""
        session = await self._repository.find_session(token.session_id, token.generation)
        if session is None or session["ended_at"] or not session["live"]:
            raise RefreshInvalidError
        ago = session["replaced_ago"]
        if ago is not None and ago <= self._terms.refresh_reuse_seconds:
            return session
        await self._end(session["user_id"], "refresh_reused", only=token.session_id)
        raise RefreshReusedError

    async def logout(self, text: str) -> None:
        """End the session of a refresh token; of an unknown or ended one nothing is left to do."""
        token = domain.RefreshToken.parse(text, self._terms.refresh_key)
        user_id = await self._repository.find_session_user(token.session_id) if token else None
        if token and user_id:
            await self._repository.act_as(user_id)
            principal = Principal(user_id, token.session_id, 0)
            await self._end(user_id, "logout", only=token.session_id, principal=principal)

    async def list_sessions(self, principal: Principal) -> list[Row]:
        """The caller's living sessions."""
        return await self._repository.list_sessions(principal.user_id)

    async def end_session(self, principal: Principal, session_id: UUID) -> None:
        """Sign a device out. Raises `SessionNotFoundError`."""
        if not await self._end(principal.user_id, "ended_by_user", only=session_id, principal=principal):
            raise SessionNotFoundError

    async def end_other_sessions(self, principal: Principal) -> None:
        """Sign every other device out."""
        await self._end(principal.user_id, "ended_by_user", except_for=principal.session_id, principal=principal)

    async def get(self, principal: Principal) -> Row:
        """The caller's account."""
        return await self._repository.get(principal.user_id)

    async def get_profile(self, user_id: UUID) -> Row:
        """Somebody the caller shares a workspace with. Raises `UserNotFoundError`."""
        user = await self._repository.find(user_id)
        if user is None:
            raise UserNotFoundError
        return user

    async def rename(self, principal: Principal, display_name: str) -> Row:
        """Change the caller's name; the same name changes nothing."""
        if changed := await self._repository.set_display_name(principal.user_id, display_name):
            event = UserUpdated(user_id=principal.user_id, display_name=display_name, version=changed["version"])
            await self._repository.record(event, principal.user_id, changed["version"], principal)
        return await self._repository.get(principal.user_id)

    async def _end(self, user_id: UUID, reason: str, principal: Principal | None = None, **which: Any) -> list[UUID]:
        ended = await self._repository.end_sessions(user_id, **which)
        await self._announcer.sessions_ended(self._repository.transaction, ended)
        for session_id in ended:
            event = SessionEnded(session_id=session_id, user_id=user_id, reason=reason)
            await self._repository.record(event, session_id, 2, principal)
        return ended

    async def _grant(self, user_id: UUID, session_id: UUID, amr: str, refresh_token: str) -> Grant:
        user = await self._repository.get(user_id)
        access_token = self._issuer.issue(
            user_id, session_id, amr=amr.split(","), email_verified=user["email_verified_at"] is not None
        )
        return Grant(access_token, refresh_token, self._issuer.lifetime_seconds, user)

    async def _send_verification(self, user: Row) -> None:
        secret = secrets.token_urlsafe(32)
        await self._repository.create_email_token(
            digest(secret), user["id"], user["email"], self._terms.verification_lifetime
        )
        link = f"{self._terms.app_url}/verify-email?token={secret}"
        self._after_commit(user["email"], "Confirm your e-mail address", f"Open this link to confirm:\n\n{link}\n")

    def _after_commit(self, to: str, subject: str, text: str) -> None:
        async def send() -> None:
            await self._mail(to, subject, text)

        self._repository.transaction.after_commit.append(send)

    async def _mail(self, to: str, subject: str, text: str) -> None:
        await deliver(self._mailer, compose(self._terms.mail_from, to, subject, text))
