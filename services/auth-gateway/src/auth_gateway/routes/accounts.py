"""Sign up, sign in, sessions, the own profile, and the keys that verify our tokens."""

from typing import Any
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response

from common.database import Row
from common.dependencies import CurrentUser

from ..dependencies import Accounts, LoginBody, LoginDevice, OpenAccounts, limited_resend
from ..schemas import (
    ProfileRead,
    RefreshToken,
    Register,
    Registered,
    SessionList,
    SessionRead,
    Tokens,
    UserRead,
    UserUpdate,
    VerifyEmail,
)
from ..service import Grant

router = APIRouter()


@router.post("/v1/auth/register", status_code=201, tags=["auth"], response_model_exclude_none=True)
async def register(body: Register, accounts: OpenAccounts, request: Request, response: Response) -> Registered:
    """Open an account, with an invitation's secret also join; 202 without the account in enumeration-safe mode."""
    user = await accounts.register(body)
    terms = request.app.state.resources.terms
    if user is None:
        response.status_code = 202
    sent = terms.email_verification and body.invitation_token is None
    return Registered(user=_user(user) if user else None, verification="sent" if sent else "not_required")


@router.post("/v1/auth/verify-email", status_code=204, tags=["auth"])
async def verify_email(body: VerifyEmail, accounts: OpenAccounts) -> None:
    """Confirm an address by the token of the mailed link."""
    await accounts.verify_email(body.token)


@router.post(
    "/v1/auth/verify-email/resend",
    status_code=202,
    tags=["auth"],
    dependencies=[Depends(limited_resend)],
    response_class=Response,
)
async def resend_verification(user: CurrentUser, accounts: Accounts) -> Response:
    """Mail the verification link again, unless the address is confirmed."""
    await accounts.resend_verification(user)
    return Response(status_code=202)


@router.post("/v1/auth/login", tags=["auth"])
async def login(body: LoginBody, accounts: OpenAccounts, device: LoginDevice, response: Response) -> Tokens:
    """Open a session on this device."""
    return _tokens(await accounts.login(body, device), response)


@router.post("/v1/auth/refresh", tags=["auth"])
async def refresh(body: RefreshToken, accounts: OpenAccounts, response: Response) -> Tokens:
    """Next access and refresh token; parallel refreshes with one token all get the same successor."""
    return _tokens(await accounts.refresh(body.refresh_token), response)


@router.post("/v1/auth/logout", status_code=204, tags=["auth"])
async def logout(body: RefreshToken, accounts: OpenAccounts) -> None:
    """End the session; its access tokens are refused within a second."""
    await accounts.logout(body.refresh_token)


@router.get("/v1/auth/sessions", tags=["auth"])
async def list_sessions(user: CurrentUser, accounts: Accounts) -> SessionList:
    """Signed-in devices, last used first."""
    rows = await accounts.list_sessions(user)
    return SessionList(items=[SessionRead(**row, current=row["id"] == user.session_id) for row in rows])


@router.delete("/v1/auth/sessions/{session_id}", status_code=204, tags=["auth"])
async def end_session(session_id: UUID, user: CurrentUser, accounts: Accounts) -> None:
    """Sign one device out."""
    await accounts.end_session(user, session_id)


@router.delete("/v1/auth/sessions", status_code=204, tags=["auth"])
async def end_other_sessions(user: CurrentUser, accounts: Accounts) -> None:
    """Sign every other device out."""
    await accounts.end_other_sessions(user)


@router.get("/v1/users/me", tags=["users"])
async def get_me(user: CurrentUser, accounts: Accounts) -> UserRead:
    """The own account."""
    return _user(await accounts.get(user))


@router.patch("/v1/users/me", tags=["users"])
async def update_me(body: UserUpdate, user: CurrentUser, accounts: Accounts) -> UserRead:
    """Change the own profile."""
    return _user(await accounts.rename(user, body.display_name))


@router.get("/v1/users/{user_id}", tags=["users"])
async def get_user(user_id: UUID, accounts: Accounts) -> ProfileRead:
    """Profile of somebody the caller shares a workspace with."""
    user = await accounts.get_profile(user_id)
    return ProfileRead(id=user["id"], display_name=user["display_name"])


@router.get("/.well-known/openid-configuration", tags=["keys"])
async def get_discovery(request: Request) -> dict[str, Any]:
    """OpenID Connect Discovery document."""
    return dict(request.app.state.resources.issuer.discovery())


@router.get("/.well-known/jwks.json", tags=["keys"])
async def get_jwks(request: Request, response: Response) -> dict[str, Any]:
    """Public keys of our access tokens (RFC 7517)."""
    response.headers["Cache-Control"] = "public, max-age=300"
    return dict(request.app.state.resources.issuer.jwks())


def _user(row: Row) -> UserRead:
    return UserRead(**row, email_verified=row["email_verified_at"] is not None)


def _tokens(grant: Grant, response: Response) -> Tokens:
    response.headers["Cache-Control"] = "no-store"  # RFC 6749, 5.1
    return Tokens(
        access_token=grant.access_token,
        expires_in=grant.expires_in,
        refresh_token=grant.refresh_token,
        user=_user(grant.user),
    )
