"""The device on its network: registers, catches up, hands in, listens; repeats what got no answer."""

import asyncio
import json
import random
from collections.abc import AsyncGenerator, Callable
from typing import Any, Protocol

import aiohttp

from .state import Json, State

AWAY = (aiohttp.ClientError, TimeoutError, ConnectionError)
PATIENCE_SECONDS = 60.0
SILENCE_SECONDS = 45.0
QUICK_SECONDS = 5.0
QUICK_ENDS = 3


class Store(Protocol):
    """Makes a state durable."""

    def load(self, state: State) -> None:
        """Fill a new state."""

    def commit(self, state: State) -> None:
        """Keep what changed."""


class RefusedError(Exception):
    """The server refuses what the device cannot mend by itself."""

    def __init__(self, status: int, problem: Json) -> None:
        super().__init__(f"{status} {problem.get('code')}: {problem.get('detail')}")
        self.status = status
        self.problem = problem


class Device:
    """One installation of a client. `token` is asked for before each request, since tokens expire."""

    def __init__(
        self,
        url: str,
        token: Callable[[], str],
        store: Store,
        new_id: Callable[[], str],
        session: aiohttp.ClientSession,
        name: str = "Device",
    ) -> None:
        self._url = url
        self._token = token
        self._store = store
        self._session = session
        self._name = name
        self.repairs = 0
        """How often what it held had to be mended."""
        self.state = State(new_id)
        store.load(self.state)
        if "device_id" not in self.state.meta:
            self.state.meta["device_id"] = new_id()
            self.save()

    @property
    def id(self) -> str:
        """What the server knows it as."""
        return str(self.state.meta["device_id"])

    @property
    def token(self) -> str:
        """The access token of the moment."""
        return self._token()

    def save(self) -> None:
        """Make what the user did durable; only then it is shown as saved."""
        self._store.commit(self.state)

    async def sync(self) -> None:
        """Hand in everything, then catch up; whatever is not reachable is tried again for a minute.

        Raises `RefusedError`.
        """
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                try:
                    await self.push()
                    await self.pull()
                except AWAY:
                    await _pause()
                else:
                    if not self.state.queue:
                        return

    async def register(self) -> None:
        """Bind the device to the session."""
        answer = await self._call("PUT", f"devices/{self.id}", {"name": self._name, "platform": "linux"})
        if answer["last_n"] > self.state.meta.get("last_n", 0) and not self.state.queue:
            self.state.meta["last_n"] = answer["last_n"]
            self.save()

    async def pull(self) -> int:
        """Catch up; how many changes there were."""
        told = 0
        while True:
            if self.state.meta.get("cursor") is None:
                await self._bootstrap()
            page = await self._recovering("pull", lambda: {"cursor": self.state.meta["cursor"], "limit": 2000})
            if page is None:
                continue
            self.state.take_page(page)
            self.save()
            told += len(page["changes"])
            if not page["has_more"]:
                await self._compare(page["checksums"])
                return told

    async def push(self) -> list[Json]:
        """Hand in what is queued; what became of it."""
        done: list[Json] = []
        while self.state.queue:
            ops = self.state.to_push()
            self.save()
            answer = await self._recovering("push", lambda ops=ops: {"device_id": self.id, "ops": ops})  # type: ignore[misc]
            if answer is None:
                continue
            self.state.take_results(answer["results"])
            self.save()
            done += answer["results"]
            if any(result["status"] == "retry" for result in answer["results"]):
                await _pause()
        return done

    async def fetch(self, document_id: str) -> str:
        """A text that did not come along."""
        head = self.state.heads["document", document_id]
        if head["content"] is None:
            async with self._session.get(self._url + head["content_url"], headers=self._headers()) as answer:
                answer.raise_for_status()
                self.state.heads["document", document_id] = {**head, "content": (await answer.read()).decode()}
            self.save()
        text = self.state.text(document_id)
        assert text is not None
        return text

    async def conflicts(self) -> list[Json]:
        """Those nobody has settled."""
        items: list[Json] = (await self._call("GET", "conflicts"))["items"]
        return items

    async def resolve(self, copy_id: str, choice: str, **more: Any) -> Json:
        """Settle one."""
        answer: Json = await self._call("POST", f"conflicts/{copy_id}/resolve", {"choice": choice, **more})
        return answer

    async def pokes(self) -> AsyncGenerator[Json]:
        """Whenever a pull is due; for ever, by stream, or by poll where streams do not get through."""
        quick = 0
        while True:
            began = asyncio.get_running_loop().time()
            try:
                if quick < QUICK_ENDS:
                    async for told in self._stream():
                        yield told
                elif (await self._call("POST", "poll", {"cursor": self.state.meta["cursor"], "timeout": 25}))[
                    "changed"
                ]:
                    yield {"scopes": {}}
            except AWAY:
                await _pause()
            lasted = asyncio.get_running_loop().time() - began
            quick = quick + 1 if lasted < QUICK_SECONDS else min(quick, QUICK_ENDS)
            if quick < QUICK_ENDS:
                yield {"scopes": {}}

    async def _stream(self) -> AsyncGenerator[Json]:
        timeout = aiohttp.ClientTimeout(total=None, sock_read=SILENCE_SECONDS)
        url = f"{self._url}/v1/sync/stream?device_id={self.id}"
        async with self._session.get(url, headers=self._headers(), timeout=timeout) as answer:
            if answer.status != 200:
                raise RefusedError(answer.status, json.loads(await answer.read()))
            name = ""
            async for line in answer.content:
                text = line.decode().rstrip("\n")
                if text.startswith("event: "):
                    name = text.removeprefix("event: ")
                elif text.startswith("data: ") and name == "poke":
                    yield json.loads(text.removeprefix("data: "))
                elif text.startswith("data: "):
                    return

    async def _bootstrap(self) -> None:
        state = self.state
        if state.meta.get("mode") is None:
            state.begin_bootstrap("apply_differences")
            self.save()
        while state.meta["cursor"] is None:
            token = state.meta["page_token"]
            page = await self._recovering(
                "bootstrap",
                lambda token=token: {"device_id": self.id, "page_token": token, "limit": 2000},  # type: ignore[misc]
            )
            if page is not None:
                state.take_bootstrap(page)
                self.save()

    async def _recovering(self, what: str, body: Callable[[], Json]) -> Json | None:
        """An answer; None once what stood in the way is mended, and the question is another one."""
        try:
            answer: Json = await self._call("POST", what, body())
        except RefusedError as error:
            await self._mend(error)
            self.save()
            return None
        return answer

    async def _mend(self, error: RefusedError) -> None:
        state, problem = self.state, error.problem
        match problem.get("code"):
            case "resync_required":
                state.begin_bootstrap(problem["mode"])
            case "cursor_invalid":
                state.begin_bootstrap("apply_differences")
            case "device_not_bound" | "cursor_not_yours" | "device_not_found":
                await self.register()
            case "device_gap":
                state.renumber(problem["expected_n"])
            case "device_forked":
                state.become_another_device()
                await self.register()
            case "op_in_progress":
                await _pause()
            case _:
                raise error

    async def _compare(self, checksums: dict[str, Json]) -> None:
        for scope, told in checksums.items():
            if self.state.sums(scope) != told:
                await self._repair(scope)

    async def _repair(self, scope: str) -> None:
        self.repairs += 1
        more = True
        while more:
            answer = await self._call("POST", "verify", {"scope": scope, "buckets": self.state.buckets(scope)})
            self.state.repair(answer)
            self.save()
            more = bool(answer["more"])

    async def _call(self, method: str, what: str, body: Json | None = None) -> Any:
        """The answer. Raises `RefusedError`; waits out what is away for now."""
        while True:
            url = f"{self._url}/v1/sync/{what}"
            async with self._session.request(method, url, json=body, headers=self._headers()) as answer:
                data = await answer.read()
                if answer.status < 300:
                    return json.loads(data) if data else {}
                if answer.status in (429, 502, 503, 504):
                    await asyncio.sleep(float(answer.headers.get("Retry-After", 0)) or random.uniform(0.1, 0.5))
                    continue
                raise RefusedError(answer.status, json.loads(data))

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token()}", "X-Sync-Protocol": "1"}


async def _pause() -> None:
    await asyncio.sleep(random.uniform(0.1, 0.5))
