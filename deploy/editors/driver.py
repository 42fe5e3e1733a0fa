"""Drives editor.mjs from Python tests: open editors, type, go offline, wait for what the others see.

async with Editors.running() as editors:
    alice = await editors.open("y-websocket-3", url=url, document=document, params={"ticket": ticket})
    await alice.type("hello")
    await bob.wait_for(contains="hello")
"""

import asyncio
import base64
import itertools
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from deploy.editors import install, node

Flavour = Literal["y-websocket-3", "y-websocket-2", "hocuspocus", "tiptap"]
Kind = Literal["text", "prosemirror"]
Json = dict[str, Any]
Attributes = Mapping[str, Any]
Fetch = Callable[[], Awaitable[str]]
FetchParams = Callable[[], Awaitable[Mapping[str, str]]]

SECONDS = 10.0
"""How long waits last unless told otherwise."""
GRACE_SECONDS = 15.0
"""How much longer than a command may take we wait for node's answer to it."""
LINE_LIMIT = 256 * 1024 * 1024
STDERR_LINES = 40


class EditorError(AssertionError):
    """An editor could not do what was asked, or did not see in time what was expected; with node's own words."""


@dataclass(frozen=True)
class Reading:
    """What one editor holds."""

    text: str
    """Of the text, or of a fragment's blocks joined by line feeds."""
    json: Json | None
    """The fragment as ProseMirror JSON, None for texts."""
    pm: Json | None
    """TipTap's own document, None without TipTap."""
    state_vector: bytes
    state: bytes
    """Everything as one update."""
    pending: bool
    """Whether updates wait for others that never came."""
    synced: bool
    status: str
    unsynced: int
    """Changes the server has not acknowledged (Hocuspocus)."""


class Editor:
    """One open editor; positions count UTF-16 units."""

    def __init__(self, editors: "Editors", name: str) -> None:
        self.name = name
        self.client_id = 0
        self.events: deque[Json] = deque()
        """What it reported and nobody took yet, oldest first."""
        self.fetch_token: Fetch | None = None
        self.fetch_params: FetchParams | None = None
        self._editors = editors
        self._arrived = asyncio.Event()

    async def type(
        self, text: str, at: int | Literal["end"] = "end", *, block: int | Literal["end"] = "end", **more: Any
    ) -> None:
        """Insert text, in a fragment into a top-level block; `attributes` are its marks."""
        await self._ask("type", at=at, block=block, text=text, **more)

    async def delete(self, at: int, length: int, *, block: int = 0) -> None:
        """Delete characters."""
        await self._ask("delete", at=at, length=length, block=block)

    async def format(self, at: int, length: int, attributes: Attributes, *, block: int = 0) -> None:
        """Set marks, `{"bold": {}}`; None takes one away."""
        await self._ask("format", at=at, length=length, attributes=attributes, block=block)

    async def insert_block(self, content: Json | str, at: int | Literal["end"] = "end") -> None:
        """Insert a block of ProseMirror JSON, or a paragraph of this text."""
        if isinstance(content, str):
            content = {"type": "paragraph", "content": [{"type": "text", "text": content}] if content else []}
        await self._ask("insertBlock", at=at, node=content)

    async def delete_block(self, at: int) -> None:
        """Delete a top-level block."""
        await self._ask("deleteBlock", at=at)

    async def set_attributes(self, block: int, attributes: Attributes) -> None:
        """Change attributes of a top-level block."""
        await self._ask("setAttributes", block=block, attributes=attributes)

    async def run(self, *steps: Sequence[Any]) -> list[bool]:
        """TipTap commands, `("toggleBold",)`, `("insertContentAt", 3, "x")`; what each answered."""
        done: list[bool] = (await self._ask("run", steps=steps))["done"]
        return done

    async def apply(self, update: bytes) -> None:
        """Apply an update as if typed here, so that it is sent."""
        await self._ask("apply", update=_text(update))

    async def raw(self, message: bytes) -> None:
        """Send a message as it is."""
        await self._ask("raw", message=_text(message))

    async def stateless(self, payload: str) -> None:
        """Send a stateless message (Hocuspocus)."""
        await self._ask("stateless", payload=payload)

    async def read(self) -> Reading:
        """All it holds."""
        got = await self._ask("read")
        return Reading(
            got["text"], got["json"], got["pm"], base64.b64decode(got["stateVector"]), base64.b64decode(got["state"]),
            got["pending"], got["synced"], got["status"], got["unsynced"],
        )  # fmt: skip

    async def text(self) -> str:
        """Its text."""
        return (await self.read()).text

    async def set_awareness(self, state: Json | None) -> None:
        """Replace its presence; None leaves."""
        await self._ask("setAwareness", state=state)

    async def set_awareness_field(self, field: str, value: Any) -> None:
        """Change one field of its presence."""
        await self._ask("setAwarenessField", field=field, value=value)

    async def awareness(self) -> dict[int, Json]:
        """Presence of everybody it knows of, itself included, by client id."""
        states = (await self._ask("readAwareness"))["states"]
        return {int(id_): state for id_, state in states.items()}

    async def offline(self) -> None:
        """Disconnect and stay away."""
        await self._ask("offline")

    async def online(self) -> None:
        """Connect again."""
        await self._ask("online")

    async def refresh(self, params: Mapping[str, str]) -> None:
        """Query parameters for the connections to come."""
        await self._ask("params", params=params)

    async def set_token(self, token: str, *, send: bool = False) -> None:
        """Token for the authentications to come, or sent now."""
        await self._ask("setToken", token=token, send=send)

    async def wait_for(self, seconds: float = SECONDS, **until: Any) -> None:
        """Until all of it holds: contains, count (of what is contained), equals, synced, status, unsynced, awareness.

        Raises `EditorError` with what it holds instead.
        """
        await self._ask("wait", seconds, until=until, ms=seconds * 1000)

    async def event(self, name: str, seconds: float = SECONDS, **fields: Any) -> Json:
        """The next event of this name and with these fields; older events are dropped. Raises `EditorError`."""
        passed: list[Json] = []
        try:
            async with asyncio.timeout(seconds):
                while True:
                    while self.events:
                        event = self.events.popleft()
                        if event["event"] == name and fields.items() <= event.items():
                            return event
                        passed.append(event)
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError:
            raise self._editors.error(f"{self.name}: no {name} {fields} within {seconds} s, but {passed}") from None

    async def close(self) -> None:
        """Close it for good."""
        self.fetch_params = self.fetch_token = None
        await self._ask("close")

    def take(self, event: Json) -> Awaitable[None] | None:
        """An event from node; the work it causes, if any."""
        self.events.append(event)
        self._arrived.set()
        if event["event"] == "token?" and self.fetch_token:
            return self._answer_token(event["request"], self.fetch_token)
        if event["event"] == "disconnected" and self.fetch_params:
            return self._refresh(self.fetch_params)
        return None

    async def answer_token(self, request: str, token: str) -> None:
        """Answer a "token?" that no function answers."""
        await self._ask("token", request=request, token=token)

    async def _answer_token(self, request: str, fetch: Fetch) -> None:
        try:
            token = await fetch()
        except Exception as error:  # noqa: BLE001 the provider has to hear of it
            await self._ask("token", request=request, error=str(error))
        else:
            await self._ask("token", request=request, token=token)

    async def _refresh(self, fetch: FetchParams) -> None:
        params = await fetch()
        if self.fetch_params:  # else it was closed meanwhile
            await self.refresh(params)

    async def _ask(self, command: str, seconds: float = SECONDS, **options: Any) -> Json:
        return await self._editors.ask(command, self.name, seconds, **options)


class Editors:
    """A node process and the editors in it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.errors: list[str] = []
        """Uncaught in node: they fail the block at its end, unless a test expects and clears them."""
        self._process = process
        self._ids = itertools.count(1)
        self._names = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Json]] = {}
        self._editors: dict[str, Editor] = {}
        self._stderr: deque[str] = deque(maxlen=STDERR_LINES)
        self._tasks = {asyncio.create_task(self._listen()), asyncio.create_task(self._complaints())}

    @classmethod
    @asynccontextmanager
    async def running(cls, script: Path | None = None) -> AsyncIterator[Self]:
        """Start node (installing its packages first), end it with the block. `script` replaces editor.mjs."""
        folder = await asyncio.to_thread(install)
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            node(), str(script or folder / "editor.mjs"), cwd=folder, stdin=pipe, stdout=pipe, stderr=pipe,
            limit=LINE_LIMIT,
        )  # fmt: skip
        editors = cls(process)
        try:
            yield editors
            if editors.errors:
                raise editors.error("uncaught in node: " + "\n".join(editors.errors))
        finally:
            await editors.end()

    async def open(
        self,
        flavour: Flavour,
        *,
        url: str,
        document: str,
        kind: Kind = "text",
        params: Mapping[str, str] | FetchParams | None = None,
        token: str | Fetch | None = None,
        client_id: int | None = None,
        state: bytes | None = None,
        **options: Any,
    ) -> Editor:
        """Open an editor; it connects at once unless `connect=False`.

        `params` (query) as a function is asked again after every disconnect, `token` as one at every authentication.
        `state` is what it holds from before. Further options: `protocols`, `headers`, `backoff` (ms between attempts),
        `socket` (a name: Hocuspocus editors with it share one), `provider` (of TipTap: hocuspocus or a y-websocket).
        """
        editor = Editor(self, f"{flavour}-{next(self._names)}")
        self._editors[editor.name] = editor
        if callable(params):
            editor.fetch_params, params = params, await params()
        if callable(token):
            editor.fetch_token, token = token, None
        asked = options | {
            "flavour": flavour, "url": url, "document": document, "kind": kind, "params": params or {}, "token": token,
            "clientID": client_id, "state": _text(state) if state else None,
            "askToken": editor.fetch_token is not None or None,
        }  # fmt: skip
        given = {name: value for name, value in asked.items() if value is not None}
        editor.client_id = (await self.ask("open", editor.name, SECONDS, **given))["clientID"]
        return editor

    async def ask(self, command: str, client: str, seconds: float, **options: Any) -> Json:
        """Node's answer. Raises `EditorError` if it refuses, ends or is silent."""
        if self._process.returncode is not None:
            raise self.error(f"node has ended with {self._process.returncode}")
        id_ = next(self._ids)
        answer = self._answers[id_] = asyncio.get_running_loop().create_future()
        assert self._process.stdin is not None
        line = json.dumps(options | {"id": id_, "command": command, "client": client})
        self._process.stdin.write(line.encode() + b"\n")
        try:
            got: Json = await asyncio.wait_for(answer, seconds + GRACE_SECONDS)
        except TimeoutError:
            raise self.error(f"{client}: no answer to {command} within {seconds + GRACE_SECONDS} s") from None
        finally:
            self._answers.pop(id_, None)
        if not got["ok"]:
            raise self.error(f"{client}: {command}: {got['error']}")
        return got

    def error(self, message: str) -> EditorError:
        """With what node said on stderr."""
        said = "\n".join(self._stderr)
        return EditorError(f"{message}\n{said}".rstrip())

    async def end(self) -> None:
        """End the process; what is still awaited fails."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), 5)
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _listen(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            told = json.loads(line)
            if "event" not in told:
                waiting = self._answers.get(told["id"])
                if waiting is not None and not waiting.done():
                    waiting.set_result(told)
            elif told["event"] == "error":
                self.errors.append(f"{told['client'] or 'node'}: {told['error']}")
            elif (editor := self._editors.get(told["client"])) and (work := editor.take(told)):
                self._background(work)
        for waiting in self._answers.values():
            if not waiting.done():
                waiting.set_exception(self.error("node has ended"))

    def _background(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(self._guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, work: Awaitable[None]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001 raised at the end of the block
            if self._process.returncode is None:
                self.errors.append(f"while answering an event: {error!r}")

    async def _complaints(self) -> None:
        assert self._process.stderr is not None
        async for line in self._process.stderr:
            self._stderr.append(line.decode(errors="replace").rstrip())


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
