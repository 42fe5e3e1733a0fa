"""The way to providers: one pool of connections; asked again only before the first byte; broken off at once.

Where requests go is fixed by settings; nothing a caller sends is part of an address, and redirects are not followed.
"""

import asyncio
import contextlib
import io
import random
import re
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

import aiohttp
from multidict import CIMultiDictProxy
from opentelemetry.trace import SpanKind

from common import telemetry
from common.client import Breaker, PeerUnavailableError

from ..errors import CallEndedError, ProviderTimeoutError, ProviderUnreachableError

LONGEST_PAUSE_SECONDS: Final = 5.0
"""A provider that asks for a longer one is not asked again; its client is told."""
FIRST_PAUSE_SECONDS: Final = 0.2
KEPT_BREAKERS: Final = 10_000
AGENT: Final = "mdcreator-ai-proxy"
TOO_MANY: Final = 429
IN_ONE_GO: Final = 512 * 1024
NEVER_LEFT: Final = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
_SECONDS: Final = re.compile(r"\d{1,9}(\.\d{0,9})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds for each part of a call, and how often it is tried."""

    connect: float
    first_byte: float
    idle: float
    total: float
    attempts: int


@dataclass(frozen=True, slots=True)
class Target:
    """What is asked where, with what; `provider` is its name in settings, `key_owner` whose key it is unless ours."""

    provider: str
    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(repr=False)
    model: str = ""
    key_owner: str | None = None


class Line:
    """The pool, and who is not worth asking at the moment."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._breakers: OrderedDict[tuple[str, str, str | None], Breaker] = OrderedDict()
        self._session: aiohttp.ClientSession | None = None

    @property
    def session(self) -> aiohttp.ClientSession:
        """The pool."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30, ttl_dns_cache=60),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._patience.connect),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                skip_auto_headers=("Accept-Encoding", "User-Agent", "Accept"),
                read_bufsize=64 * 1024,
            )
        return self._session

    async def close(self) -> None:
        """Close every connection."""
        if self._session:
            await self._session.close()

    def breaker(self, target: Target) -> Breaker:
        """Of one model at a provider with one key: what fails with another one tells nothing of it."""
        circuit = target.provider, target.model, target.key_owner
        breaker = self._breakers.setdefault(circuit, Breaker())
        self._breakers.move_to_end(circuit)
        if len(self._breakers) > KEPT_BREAKERS:
            self._breakers.popitem(last=False)
        return breaker

    def call(self) -> "Call":
        """A call about to be made."""
        return Call(self, self._patience)


class Call:
    """One call: opened, read, and broken off from anywhere by `end`. Closes its connection unless it was read out."""

    def __init__(self, line: Line, patience: Patience) -> None:
        self._line = line
        self._patience = patience
        self._deadline = time.monotonic() + patience.total
        self._timer: asyncio.Timeout | None = None
        self._response: aiohttp.ClientResponse | None = None
        self.ended: str | None = None
        """Why it was broken off."""
        self.asked = False
        """Whether a request has left for the provider."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        if self._response is not None:
            if self._response.content.at_eof():
                self._response.release()
            else:
                self._response.close()
            self._response = None

    def end(self, why: str) -> None:
        """Break it off: whoever waits for the provider gets `CallEndedError`, the provider sees the line close."""
        if self.ended is None:
            self.ended = why
            if self._timer is not None:
                with contextlib.suppress(RuntimeError):  # it has just run out by itself
                    self._timer.reschedule(0)
            else:
                self._close()

    @property
    def status(self) -> int:
        """Of the answer."""
        assert self._response is not None  # noqa: S101 - opened
        return self._response.status

    @property
    def headers(self) -> CIMultiDictProxy[str]:
        """Of the answer."""
        assert self._response is not None  # noqa: S101 - opened
        return self._response.headers

    async def open(self, target: Target) -> None:
        """Ask, again if that can help, until there is an answer, whatever its status.

        Raises `ProviderUnreachableError`, `ProviderTimeoutError`, `CallEndedError`.
        """
        self._close()
        breaker = self._line.breaker(target)
        with telemetry.span(f"{target.method} {target.provider}", SpanKind.CLIENT):
            try:
                async with self._within(self._patience.first_byte):
                    await self._try(target, breaker)
            except ProviderTimeoutError:
                breaker.failed()
                raise

    async def _try(self, target: Target, breaker: Breaker) -> None:
        asked = self.asked
        for attempt in range(1, self._patience.attempts + 1):
            try:
                breaker.check(target.provider)
                self._response = await self._ask(target)
            except PeerUnavailableError as error:
                raise ProviderUnreachableError from error
            except (aiohttp.ClientError, OSError) as error:
                breaker.failed()
                if attempt == self._patience.attempts:
                    raise ProviderUnreachableError from error
                await asyncio.sleep(_pause(attempt))
                continue
            if self.status < 500:  # noqa: PLR2004
                breaker.succeeded()
            else:
                breaker.failed()
            pause = self._pause_before_next(attempt)
            if pause is None:
                return
            self.asked = asked  # what was refused costs nothing
            self._close()
            await asyncio.sleep(pause)

    async def _ask(self, target: Target) -> aiohttp.ClientResponse:
        asked, self.asked = self.asked, True
        try:
            return await self._line.session.request(
                target.method, target.url, headers=target.headers, data=_payload(target.body), allow_redirects=False
            )
        except NEVER_LEFT:
            self.asked = asked
            raise

    def _pause_before_next(self, attempt: int) -> float | None:
        """Seconds until it is worth asking again; None if this is the answer."""
        if attempt == self._patience.attempts or (self.status != TOO_MANY and self.status < 500):  # noqa: PLR2004
            return None
        told = self.headers.get("Retry-After", "")
        pause = float(told) if _SECONDS.fullmatch(told) else _pause(attempt)
        return pause if pause <= LONGEST_PAUSE_SECONDS else None

    async def read(self) -> bytes:
        """The next bytes, b"" at the end.

        Raises `ProviderTimeoutError`, `CallEndedError`, and aiohttp's errors for an answer that is cut short.
        """
        response = self._response
        if response is None or self.ended:
            raise CallEndedError(self.ended)
        if time.monotonic() > self._deadline:
            self.skip()
            raise ProviderTimeoutError
        if chunk := response.content.read_nowait(-1):
            return chunk
        async with self._within(self._patience.idle):
            return await response.content.readany()

    def _within(self, seconds: float) -> "_Within":
        return _Within(self, min(seconds, self._deadline - time.monotonic()))

    async def read_all(self, limit: int) -> bytes:
        """The whole answer, or the first bytes of it that are more than `limit`."""
        parts, length = [], 0
        while chunk := await self.read():
            parts.append(chunk)
            length += len(chunk)
            if length > limit:
                break
        return b"".join(parts)

    def skip(self) -> None:
        """Nobody wants this answer."""
        with contextlib.suppress(aiohttp.ClientError):
            self._close()


class _Within:
    """A time limit that `Call.end` can bring forward."""

    def __init__(self, call: Call, seconds: float) -> None:
        self._call = call
        self._timer = asyncio.timeout(max(seconds, 0))

    async def __aenter__(self) -> None:
        if self._call.ended:
            raise CallEndedError(self._call.ended)
        await self._timer.__aenter__()
        self._call._timer = self._timer  # noqa: SLF001 - part of it

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._call._timer = None  # noqa: SLF001
        try:
            await self._timer.__aexit__(kind, error, trace)
        except TimeoutError:
            self._call.skip()
            if self._call.ended:
                raise CallEndedError(self._call.ended) from None
            raise ProviderTimeoutError from None


def _payload(body: bytes | None) -> bytes | io.BytesIO | None:
    """A long one in pieces: in one go it would hold up every other call."""
    return io.BytesIO(body) if body and len(body) > IN_ONE_GO else body


def _pause(attempt: int) -> float:
    return float(FIRST_PAUSE_SECONDS * 2 ** (attempt - 1) * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
