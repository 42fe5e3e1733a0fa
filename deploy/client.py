"""A small asynchronous client of the public API: what the demo, the seed, the benches and the journey tests share.

Waits out 429 answers, renews access tokens before they expire, and notes how long each kind of call took.
"""

import asyncio
import email
import json
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from email import policy
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import aiohttp

CONNECTIONS = 64
TIMEOUT_SECONDS = 60.0
PATIENCE_SECONDS = 300.0
MAIL_SECONDS = 10.0
NEWEST_MAILS = 200
DEFAULT_URL = "http://127.0.0.1:8080"

T = TypeVar("T")
Kind = str | Callable[["Answer"], str]


class UnreachableError(Exception):
    """Nobody answers at the address, or the connection broke before an answer came."""


class UnexpectedAnswerError(Exception):
    """The API answered something else than the caller can go on with."""

    def __init__(self, request: str, answer: "Answer") -> None:
        super().__init__(f"{request} answered {answer.status} {answer.problem()}".rstrip())
        self.answer = answer


class NotLoopbackError(Exception):
    """The base URL is not on this machine."""


def base_url(environment: Mapping[str, str]) -> str:
    """Where the gateway is: MDC_ISSUER (set by `make`), or GATEWAY_PORT, or the default port."""
    port = environment.get("GATEWAY_PORT")
    return environment.get("MDC_ISSUER") or (f"http://127.0.0.1:{port}" if port else DEFAULT_URL)


def require_loopback(url: str) -> str:
    """The same URL. Raises `NotLoopbackError`: known passwords and invented people belong on a development machine."""
    host = urlsplit(url).hostname or ""
    try:
        loopback = host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise NotLoopbackError(f"{url} is not on this machine: this is for a local fleet only")
    return url


@dataclass(frozen=True)
class Answer:
    """One HTTP answer, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def version(self) -> int:
        """The version its ETag names."""
        return int(self.headers["ETag"].removeprefix("W/").strip('"').removeprefix("v").partition("-")[0])

    @property
    def code(self) -> str:
        """The `code` of a problem document, "" if it is none."""
        if not self.headers.get("Content-Type", "").startswith("application/problem+json"):
            return ""
        return str(self.json().get("code", ""))

    def problem(self) -> str:
        """A problem document in one line."""
        if not self.code:
            return ""
        document = self.json()
        return f"{document['code']}: {document['detail']} (trace {document['trace_id']})"


@dataclass
class Timings:
    """Seconds per kind of call, and how often a rate limit made a call wait."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    throttled: int = 0

    def add(self, kind: str, seconds: float) -> None:
        self.seconds.setdefault(kind, []).append(seconds)

    @property
    def calls(self) -> int:
        return sum(map(len, self.seconds.values()))

    def rows(self) -> list[tuple[str, int, float, float]]:
        """Kind, number of calls, median and 95th percentile in milliseconds."""
        return [
            (kind, len(values), percentile(values, 50) * 1000, percentile(values, 95) * 1000)
            for kind, values in self.seconds.items()
        ]


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` % of the values do not exceed."""
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


class Api:
    """The API at one address; `url` may also say for each path which service answers it."""

    def __init__(
        self, url: str | Callable[[str], str], connections: int = CONNECTIONS, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> None:
        self._url_of = url if callable(url) else lambda _path: url
        self._connections = connections
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._session: aiohttp.ClientSession | None = None
        self.timings = Timings()

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._connections),
            timeout=self._timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(self, *_error: object) -> None:
        assert self._session is not None
        await self._session.close()

    async def call(
        self,
        method: str,
        path: str,
        *,
        kind: Kind = "",
        expect: Sequence[int] = (200,),
        body: Any = None,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> Answer:
        """One call; `body` is sent as JSON, `data` as it is. Waits out 429.

        Raises `UnexpectedAnswerError` unless the status is in `expect` (empty: any), `UnreachableError`.
        """
        sent = dict(headers or {})
        if body is not None:
            sent["Content-Type"] = "application/json"
            data = json.dumps(body, ensure_ascii=False).encode()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            begun = time.perf_counter()
            answer = await self._send(method, path, sent, data, params)
            if answer.status != 429 or 429 in expect or time.monotonic() > deadline:
                break
            self.timings.throttled += 1
            await asyncio.sleep(float(answer.headers.get("Retry-After", "1")))
        name = kind(answer) if callable(kind) else kind or f"{method} {path}"
        self.timings.add(name, time.perf_counter() - begun)
        if expect and answer.status not in expect:
            raise UnexpectedAnswerError(f"{method} {path}", answer)
        return answer

    async def _send(
        self, method: str, path: str, headers: Mapping[str, str], data: bytes | None, params: Mapping[str, str] | None
    ) -> Answer:
        assert self._session is not None
        url = self._url_of(path) + path
        try:
            async with self._session.request(
                method, url, headers=headers, data=data, params=params, allow_redirects=False
            ) as response:
                return Answer(response.status, response.headers, await response.read())
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            raise UnreachableError(f"{method} {url}: {error or type(error).__name__}") from error

    async def sign_up(self, address: str, password: str, name: str) -> "Person":
        """Register and log in."""
        body = {"email": address, "password": password, "display_name": name}
        await self.call("POST", "/v1/auth/register", kind="register", expect=(201,), body=body)
        return await self.sign_in(address, password)

    async def sign_in(self, address: str, password: str) -> "Person":
        """Log in. Raises `UnexpectedAnswerError` (401: no such account or another password)."""
        body = {"email": address, "password": password}
        answer = await self.call("POST", "/v1/auth/login", kind="log in", body=body)
        return Person(self, answer.json())


class Person:
    """Somebody signed in."""

    def __init__(self, api: Api, tokens: dict[str, Any]) -> None:
        self._api = api
        self._renewing = asyncio.Lock()
        self._take(tokens)
        self.id = str(tokens["user"]["id"])
        self.email = str(tokens["user"]["email"])
        self.name = str(tokens["user"]["display_name"])

    def _take(self, tokens: dict[str, Any]) -> None:
        self.token = str(tokens["access_token"])
        self._refresh_token = str(tokens["refresh_token"])
        self._renew_at = time.monotonic() + tokens["expires_in"] * 0.8

    async def _current_token(self) -> str:
        async with self._renewing:
            if time.monotonic() > self._renew_at:
                body = {"refresh_token": self._refresh_token}
                answer = await self._api.call("POST", "/v1/auth/refresh", kind="refresh", body=body)
                self._take(answer.json())
        return self.token

    async def call(self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **options: Any) -> Answer:
        """`Api.call` with this person's access token."""
        bearer = {"Authorization": f"Bearer {await self._current_token()}"}
        return await self._api.call(method, path, headers={**bearer, **(headers or {})}, **options)

    async def make_workspace(self, name: str) -> str:
        """Open a workspace; its id."""
        answer = await self.call("POST", "/v1/workspaces", kind="create workspace", expect=(201,), body={"name": name})
        return str(answer.json()["id"])

    async def invite(self, workspace_id: str, address: str, role: str = "editor") -> None:
        """Have an invitation mailed."""
        path = f"/v1/workspaces/{workspace_id}/invitations"
        await self.call("POST", path, kind="invite", expect=(201,), body={"email": address, "role": role})

    async def accept_invitation(self, token: str) -> None:
        """Join by the mailed token."""
        await self.call("POST", f"/v1/invitations/{token}/accept", kind="accept invitation")

    async def create(
        self, workspace_id: str, title: str, content: bytes, *, expect: Sequence[int] = (201,), **more: Any
    ) -> Answer:
        """Make a document of these bytes; `key=` sends an Idempotency-Key, other names go into the body."""
        key = more.pop("key", None)
        body = {"workspace_id": workspace_id, "title": title, "content": content.decode(), **more}
        headers = {"Idempotency-Key": key} if key else {}
        return await self.call(
            "POST", "/v1/documents", kind="create document", expect=expect, body=body, headers=headers
        )

    async def content(self, document_id: str, *, expect: Sequence[int] = (200,)) -> Answer:
        """The exact bytes of a document."""
        return await self.call("GET", f"/v1/documents/{document_id}/content", kind="read content", expect=expect)

    async def save(
        self,
        document_id: str,
        content: bytes,
        base: int,
        *,
        expect: Sequence[int] = (200,),
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Save bytes written on top of version `base`."""
        sent = {"If-Match": f'"v{base}"', "Content-Type": "text/markdown", **(headers or {})}
        path = f"/v1/documents/{document_id}/content"
        return await self.call("PUT", path, kind=_kind_of_save, expect=expect, data=content, headers=sent)

    async def edit(
        self, document_id: str, edits: Sequence[Mapping[str, str]], base: int, *, expect: Sequence[int] = (200,)
    ) -> Answer:
        """PATCH edits made on top of version `base`."""
        path, sent = f"/v1/documents/{document_id}/content", {"If-Match": f'"v{base}"'}
        body = {"edits": list(edits)}
        return await self.call("PATCH", path, kind="edit (PATCH)", expect=expect, body=body, headers=sent)

    async def pages(self, path: str, kind: str, **params: str) -> list[dict[str, Any]]:
        """All items of a list, page by page."""
        items: list[dict[str, Any]] = []
        cursor: dict[str, str] = {}
        while True:
            answer = await self.call("GET", path, kind=kind, params={"limit": "200", **params, **cursor})
            page = answer.json()
            items += page["items"]
            if page["next_cursor"] is None:
                return items
            cursor = {"cursor": page["next_cursor"]}


def _kind_of_save(answer: Answer) -> str:
    if answer.status != 200:
        return f"save, {answer.status}"
    return "save, merged" if answer.json()["merged"] else "save"


async def invitation_token(mails: Path, address: str) -> str:
    """The token in the newest invitation mailed to `address`. Raises `FileNotFoundError` if none comes in 10 s."""
    deadline = time.monotonic() + MAIL_SECONDS
    while True:
        for file in sorted(mails.glob("[!.]*.eml"), reverse=True)[:NEWEST_MAILS]:
            token = _token_for(file.read_bytes(), address)
            if token:
                return token
        if time.monotonic() > deadline:
            raise FileNotFoundError(f"no invitation for {address} in {mails}")
        await asyncio.sleep(0.1)


def _token_for(mail: bytes, address: str) -> str | None:
    message = email.message_from_bytes(mail, policy=policy.default)
    if message["To"] != address:
        return None
    _, mark, rest = message.get_content().partition("/invitations/")
    return rest.split()[0] if mark else None


def digest(content: bytes) -> str:
    """SHA-256 of a content, as the API names it."""
    return sha256(content).hexdigest()


async def at_most(limit: int, jobs: Iterable[Callable[[], Awaitable[T]]]) -> list[T]:
    """Run all, at most `limit` at a time; results in order. The first exception ends the rest and is raised."""
    gate = asyncio.Semaphore(limit)

    async def one(job: Callable[[], Awaitable[T]]) -> T:
        async with gate:
            return await job()

    tasks = [asyncio.create_task(one(job)) for job in jobs]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
