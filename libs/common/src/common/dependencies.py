"""FastAPI dependencies every service shares: the caller, the request's transaction, the internal caller."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Request, params
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from common import telemetry
from common.auth import CallerNotAllowedError, Principal
from common.client import USER_TOKEN
from common.database import Transaction
from common.errors import UnauthorizedError
from common.platform import Platform

_bearer = HTTPBearer(auto_error=False, description="Access token of POST /v1/auth/login")
_READS = frozenset(("GET", "HEAD", "OPTIONS"))

BearerToken = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
BEARER = Depends(_bearer)


async def authenticate(request: Request) -> Principal:
    """The verified caller, within the rate limit of its route class. Raises `UnauthorizedError`, `RateLimitedError`.

    For dependencies on hot paths, which save FastAPI's work for a chain of them; the route or its router still
    declares `BEARER`.
    """
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise UnauthorizedError("send an access token: Authorization: Bearer …")
    platform: Platform = request.app.state.platform
    principal = await platform.authenticator.authenticate(token)
    policy = platform.read_policy if request.method in _READS else platform.write_policy
    _tell(await platform.limiter.take(policy, str(principal.user_id)))
    return principal


async def current_user(request: Request, _credentials: BearerToken) -> Principal:
    """The verified caller (see `authenticate`)."""
    return await authenticate(request)


async def anonymous(request: Request) -> None:
    """Limit a public route per client IP. Raises `RateLimitedError`."""
    platform: Platform = request.app.state.platform
    context = telemetry.current()
    _tell(await platform.limiter.take(platform.anonymous_policy, context.client_ip if context else ""))


def _tell(headers: dict[str, str]) -> None:
    if context := telemetry.current():
        context.response_headers.update(headers)


CurrentUser = Annotated[Principal, Depends(current_user)]


async def user_transaction(request: Request, user: CurrentUser) -> AsyncIterator[Transaction]:
    """The request's transaction with the caller's view; commits before the answer is sent."""
    platform: Platform = request.app.state.platform
    async with platform.database.transaction(user.user_id) as transaction:
        yield transaction


async def open_transaction(request: Request) -> AsyncIterator[Transaction]:
    """The request's transaction without a user: row-level security shows nothing until `act_as`."""
    platform: Platform = request.app.state.platform
    async with platform.database.transaction() as transaction:
        yield transaction


# scope="function": with the default scope a failing commit answered 201 (ADR-0004).
UserTransaction = Annotated[Transaction, Depends(user_transaction, scope="function")]
OpenTransaction = Annotated[Transaction, Depends(open_transaction, scope="function")]


async def acting_user(request: Request) -> Principal:
    """The user an internal call is made for, by the access token that was handed on. Raises `UnauthorizedError`."""
    token = request.headers.get(USER_TOKEN)
    if not token:
        raise UnauthorizedError(f"hand the user's access token on: {USER_TOKEN}")
    platform: Platform = request.app.state.platform
    return await platform.authenticator.authenticate(token)


ActingUser = Annotated[Principal, Depends(acting_user)]


def internal_caller(*allowed: str) -> params.Depends:
    """Dependency of an internal route: the verified name of the calling service, one of `allowed` (none: any)."""

    async def caller(request: Request, credentials: BearerToken) -> str:
        if credentials is None:
            raise UnauthorizedError
        platform: Platform = request.app.state.platform
        name = platform.identity.verify(credentials.credentials)
        if allowed and name not in allowed:
            raise CallerNotAllowedError(f"{name} may not call this")
        return name

    return params.Depends(caller)
