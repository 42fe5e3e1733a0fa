"""Calls to other services' /internal: signed assertion, 2 s timeout, retries of reads, circuit breaker."""

import asyncio
import random
import time
from collections.abc import Mapping
from io import BytesIO
from types import MappingProxyType
from typing import Any
from uuid import UUID

import aiohttp
import orjson
from opentelemetry.trace import SpanKind

from common import telemetry
from common.auth import ServiceIdentity
from common.errors import NotFoundError, UnavailableError

TIMEOUT_SECONDS = 2.0
USER_TOKEN = "X-User-Token"  # noqa: S105 - the name of a header
"""Carries the access token of the user a call is made for: the callee decides by the user's own rights."""
ATTEMPTS = 3
BREAK_AFTER_FAILURES = 5
BREAK_SECONDS = 2.0


class PeerUnavailableError(UnavailableError):
    """Another service did not answer in time."""

    code = "peer_unavailable"


class PeerNotFoundError(NotFoundError):
    """The owner does not know the resource."""


class Breaker:
    """After five failures in a row refuse for 2 s, then let a single trial decide."""

    def __init__(self) -> None:
        self._failures = 0
        self._open_until = 0.0

    def check(self, service: str) -> None:
        """Raise `PeerUnavailableError` while the circuit is open."""
        now = time.monotonic()
        if now < self._open_until:
            raise PeerUnavailableError(f"{service} is not reachable")
        if self._failures >= BREAK_AFTER_FAILURES:
            self._open_until = now + BREAK_SECONDS

    def succeeded(self) -> None:
        """Close the circuit."""
        self._failures, self._open_until = 0, 0.0

    def failed(self) -> None:
        """Count a failure, open the circuit at the fifth."""
        self._failures += 1
        if self._failures >= BREAK_AFTER_FAILURES:
            self._open_until = time.monotonic() + BREAK_SECONDS


class InternalClient:
    """One connection pool for all peers of this service."""

    def __init__(self, identity: ServiceIdentity, urls: Mapping[str, str]) -> None:
        self._identity = identity
        self._urls = urls
        self._breakers = {service: Breaker() for service in urls}
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close pooled connections."""
        if self._session:
            await self._session.close()

    async def get(
        self, service: str, path: str, params: Mapping[str, str] | None = None, *, acting_user: UUID | None = None
    ) -> Any:
        """JSON answer of an internal read. Raises `PeerNotFoundError`, `PeerUnavailableError` after three tries."""
        breaker = self._breakers[service]
        breaker.check(service)
        deadline = time.monotonic() + TIMEOUT_SECONDS
        for attempt in range(ATTEMPTS):
            if attempt:
                await asyncio.sleep(random.uniform(0.01, 0.05) * 2**attempt)  # noqa: S311 - jitter
            try:
                answer = await self._once("GET", service, path, acting_user, params=params)
            except PeerNotFoundError:
                breaker.succeeded()
                raise
            except (aiohttp.ClientError, TimeoutError, PeerUnavailableError) as error:
                breaker.failed()
                cause: Exception = error
                if time.monotonic() > deadline:
                    break
                continue
            breaker.succeeded()
            return answer
        raise PeerUnavailableError(f"{service} is not reachable") from cause

    async def post(
        self,
        service: str,
        path: str,
        body: Any,
        *,
        acting_user: UUID | None = None,
        user_token: str | None = None,
        seconds: float = TIMEOUT_SECONDS,
    ) -> Any:
        """JSON answer of an internal call that is made once. Raises `PeerUnavailableError`, `PeerNotFoundError`.

        After the former nobody knows whether it had an effect.
        """
        breaker = self._breakers[service]
        breaker.check(service)
        more = {USER_TOKEN: user_token} if user_token else {}
        try:
            answer = await self._once(
                "POST", service, path, acting_user, more, data=BytesIO(orjson.dumps(body)),
                timeout=aiohttp.ClientTimeout(total=seconds),
            )  # fmt: skip
        except PeerNotFoundError:
            breaker.succeeded()
            raise
        except (aiohttp.ClientError, TimeoutError) as error:
            breaker.failed()
            raise PeerUnavailableError(f"{service} is not reachable") from error
        breaker.succeeded()
        return answer

    async def _once(
        self,
        method: str,
        service: str,
        path: str,
        acting_user: UUID | None,
        more: Mapping[str, str] = MappingProxyType({}),
        **options: Any,
    ) -> Any:
        session = self._session = self._session or aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
        )
        with telemetry.span(f"{method} {service}", SpanKind.CLIENT):
            headers = {"Authorization": f"Bearer {self._identity.assertion(service, acting_user)}", **more}
            if method == "POST":
                headers["Content-Type"] = "application/json"
            if context := telemetry.current():
                headers |= {"traceparent": context.traceparent, "X-Request-Id": context.request_id}
            async with session.request(method, self._urls[service] + path, headers=headers, **options) as response:
                if response.status == 404:  # noqa: PLR2004
                    raise PeerNotFoundError
                if response.status != 200:  # noqa: PLR2004
                    raise PeerUnavailableError(f"{service} answered {response.status}")
                return orjson.loads(await response.read())
