"""Wiring: keys, passwords, mail; the platform of the service that owns keys and revocations itself."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Request

from common import telemetry
from common.auth import Principal
from common.database import Transaction
from common.dependencies import ActingUser, CurrentUser, OpenTransaction, UserTransaction, anonymous
from common.idempotency import IdempotencyKey
from common.platform import Platform
from common.ratelimit import Policy
from common.revocations import Announcer, Source

from .identity import Passwords, TokenIssuer
from .mail import FolderMailer, Mailer, SmtpMailer
from .repository import (
    AccountRepository,
    GroupRepository,
    InvitationRepository,
    MemberRepository,
    WorkspaceRepository,
)
from .schemas import Login
from .service import (
    AccountService,
    Device,
    FactService,
    GroupService,
    InvitationService,
    MemberService,
    Memberships,
    WorkspaceService,
)
from .service.accounts import Terms
from .service.invitations import InvitationTerms
from .settings import Settings

SCHEMA = "auth_gateway"
LOGIN_BURST = 10
STRANGERS = 10
"""Addresses that have to guess at one account before its owner, who comes from another one, is kept out too."""
MAIL_BURST = 5


def _settings(platform: Platform) -> Settings:
    settings = platform.settings
    assert isinstance(settings, Settings)  # noqa: S101 - main.create() built it
    return settings


class GatewayPlatform(Platform):
    """The platform of the token issuer: asks itself for keys and revocations, not a peer."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.issuer = TokenIssuer(
            settings.signing_keys.get_secret_value(),
            issuer=settings.issuer,
            audience=settings.audience,
            lifetime_seconds=settings.access_token_seconds,
        )

    async def fetch_jwks(self) -> Mapping[str, Any]:
        """Own public keys."""
        return self.issuer.jwks()

    def revocation_sources(self) -> list[Source]:
        """Itself alone: it decides by its own tables, never by access roots."""
        return [self._revocations_of(self.settings.service)]


@dataclass(frozen=True, slots=True)
class Resources:
    """Process-wide parts beside the platform."""

    issuer: TokenIssuer
    passwords: Passwords
    mailer: Mailer
    announcer: Announcer
    terms: Terms
    grace: timedelta
    invitation_terms: InvitationTerms
    login_policy: Policy
    login_account_policy: Policy
    mail_policy: Policy
    invitation_policy: Policy


@asynccontextmanager
async def resources(platform: Platform) -> AsyncIterator[Resources]:
    """Password threads, mailer, issuer."""
    settings = _settings(platform)
    assert isinstance(platform, GatewayPlatform)  # noqa: S101 - main.create() chose it
    passwords = Passwords(settings.password_threads, settings.password_queue)
    smtp = settings.smtp_url
    yield Resources(
        platform.issuer,
        passwords,
        SmtpMailer(smtp.get_secret_value()) if smtp else FolderMailer(settings.mail_dir),
        Announcer(SCHEMA, platform.redis, platform.revocations),
        _terms(settings),
        timedelta(days=settings.workspace_grace_days),
        InvitationTerms(timedelta(days=settings.invitation_days), settings.app_url, settings.mail_from),
        Policy("login", settings.login_attempts_per_minute, LOGIN_BURST),
        Policy("login_account", settings.login_attempts_per_minute * STRANGERS, LOGIN_BURST * STRANGERS),
        Policy("mail", settings.mails_per_minute, MAIL_BURST),
        Policy("invitation", settings.mails_per_minute, MAIL_BURST),
    )
    passwords.close()


def _terms(settings: Settings) -> Terms:
    return Terms(
        refresh_key=settings.refresh_key.get_secret_value(),
        refresh_reuse_seconds=settings.refresh_reuse_seconds,
        session_lifetime=settings.session_lifetime,
        verification_lifetime=timedelta(hours=settings.verification_hours),
        email_verification=settings.email_verification,
        enumeration_safe=settings.enumeration_safe,
        app_url=settings.app_url,
        mail_from=settings.mail_from,
    )


def _account_service(request: Request, transaction: Transaction) -> AccountService:
    own: Resources = request.app.state.resources

    async def limit_mails(email: str) -> None:
        await _limit(request, own.mail_policy, email)

    def invitations_of(user_id: UUID) -> InvitationService:
        return _invitation_service(request, transaction, user_id, None)

    return AccountService(
        AccountRepository(transaction),
        own.passwords,
        own.issuer,
        own.announcer,
        own.mailer,
        limit_mails,
        invitations_of,
        own.terms,
    )


async def account_service(request: Request, transaction: UserTransaction) -> AccountService:
    """Accounts on behalf of the caller."""
    return _account_service(request, transaction)


async def acting_account_service(request: Request, user: ActingUser) -> AsyncIterator[AccountService]:
    """Accounts on behalf of the user another service acts for."""
    platform: Platform = request.app.state.platform
    async with platform.database.transaction(user.user_id) as transaction:
        yield _account_service(request, transaction)


async def open_account_service(request: Request, transaction: OpenTransaction) -> AccountService:
    """Accounts for somebody not signed in; limited per client IP."""
    await anonymous(request)
    return _account_service(request, transaction)


def _memberships(request: Request, transaction: Transaction, user_id: UUID, principal: Principal | None) -> Memberships:
    own: Resources = request.app.state.resources
    return Memberships(
        WorkspaceRepository(transaction),
        MemberRepository(transaction),
        GroupRepository(transaction),
        InvitationRepository(transaction),
        own.announcer,
        user_id,
        principal,
    )


def _invitation_service(
    request: Request, transaction: Transaction, user_id: UUID, principal: Principal | None
) -> InvitationService:
    own: Resources = request.app.state.resources

    async def limit_invitations(email: str) -> None:
        await _limit(request, own.invitation_policy, f"{user_id}:{email}")

    return InvitationService(
        InvitationRepository(transaction),
        MemberRepository(transaction),
        AccountRepository(transaction),
        _memberships(request, transaction, user_id, principal),
        own.mailer,
        own.invitation_terms,
        limit_invitations,
    )


async def memberships(request: Request, user: CurrentUser, transaction: UserTransaction) -> Memberships:
    """Memberships as the caller may change them."""
    return _memberships(request, transaction, user.user_id, user)


OwnMemberships = Annotated[Memberships, Depends(memberships, scope="function")]


async def workspace_service(
    request: Request, transaction: UserTransaction, memberships: OwnMemberships
) -> WorkspaceService:
    """Workspaces of the caller."""
    own: Resources = request.app.state.resources
    return WorkspaceService(WorkspaceRepository(transaction), memberships, own.announcer, own.grace)


async def member_service(transaction: UserTransaction, memberships: OwnMemberships) -> MemberService:
    """Members of the caller's workspaces."""
    return MemberService(MemberRepository(transaction), memberships)


async def group_service(transaction: UserTransaction, memberships: OwnMemberships) -> GroupService:
    """Groups of the caller's workspaces."""
    return GroupService(GroupRepository(transaction), memberships)


async def invitation_service(request: Request, user: CurrentUser, transaction: UserTransaction) -> InvitationService:
    """Invitations to the caller's workspaces, and of the caller to others."""
    return _invitation_service(request, transaction, user.user_id, user)


async def facts(transaction: OpenTransaction) -> FactService:
    """Facts for other services."""
    return FactService(
        AccountRepository(transaction),
        WorkspaceRepository(transaction),
        MemberRepository(transaction),
        GroupRepository(transaction),
        InvitationRepository(transaction),
    )


async def public_facts(request: Request, transaction: OpenTransaction) -> FactService:
    """Facts for whoever holds a secret; limited per client IP."""
    await anonymous(request)
    return await facts(transaction)


async def idempotency_key(request: Request, user: CurrentUser, transaction: UserTransaction) -> IdempotencyKey:
    """The request's Idempotency-Key, if it has one."""
    return IdempotencyKey(request, transaction, user.user_id, SCHEMA)


# These hand the body on: declared a second time in the route it would be validated, and refused, twice.
async def limited_login(request: Request, body: Login) -> Login:
    """Attempts on one account are limited per client address, and more widely however many they come from."""
    own: Resources = request.app.state.resources
    context = telemetry.current()
    await _limit(request, own.login_policy, f"{context.client_ip if context else ''} {body.email}")
    await _limit(request, own.login_account_policy, body.email)
    return body


async def limited_resend(request: Request, user: CurrentUser) -> None:
    """Verification mails are limited per account, which is per address."""
    own: Resources = request.app.state.resources
    await _limit(request, own.mail_policy, str(user.user_id))


async def _limit(request: Request, policy: Policy, subject: str) -> None:
    platform: Platform = request.app.state.platform
    await platform.limiter.take(policy, subject)


LoginBody = Annotated[Login, Depends(limited_login)]


async def login_device(body: LoginBody) -> Device:
    """Where the login comes from."""
    context = telemetry.current()
    return Device(body.device_id, body.device_name, context.client_ip if context else "")


Accounts = Annotated[AccountService, Depends(account_service, scope="function")]
ActingAccounts = Annotated[AccountService, Depends(acting_account_service, scope="function")]
OpenAccounts = Annotated[AccountService, Depends(open_account_service, scope="function")]
Workspaces = Annotated[WorkspaceService, Depends(workspace_service, scope="function")]
Members = Annotated[MemberService, Depends(member_service, scope="function")]
Groups = Annotated[GroupService, Depends(group_service, scope="function")]
Invitations = Annotated[InvitationService, Depends(invitation_service, scope="function")]
Facts = Annotated[FactService, Depends(facts, scope="function")]
PublicFacts = Annotated[FactService, Depends(public_facts, scope="function")]
Key = Annotated[IdempotencyKey, Depends(idempotency_key, scope="function")]
LoginDevice = Annotated[Device, Depends(login_device)]
