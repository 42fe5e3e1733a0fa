"""People who write without pause, as patient clients do: no answer means the same request again, with the same key."""

import asyncio
import random
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import uuid4

from deploy.client import Answer, Api, Person, UnreachableError, digest

PASSWORD = secrets.token_urlsafe(12)
PAUSE_SECONDS = 0.05
AWAY = (502, 503, 504)
LIVES = 20
"""Writes to a document before its writer begins another."""
LARGE = 600
"""Lines that make a body go to the object store."""

Call = Callable[[], Awaitable[Answer]]


@dataclass
class Ledger:
    """What was acknowledged, and so must be there afterwards."""

    attempted: int = 0
    acknowledged: int = 0
    unanswered: int = 0
    writes: Counter[str] = field(default_factory=Counter)
    """Acknowledged writes by kind."""
    contents: dict[tuple[str, int], str] = field(default_factory=dict)
    """SHA-256 of each document's acknowledged content versions."""
    changes: set[tuple[str, int]] = field(default_factory=set)
    """Acknowledged versions of documents that changed no content, and of workspaces."""
    names: dict[str, list[str]] = field(default_factory=dict)
    """Acknowledged names of each person."""
    created: set[str] = field(default_factory=set)
    lines: dict[str, list[str]] = field(default_factory=dict)
    """Lines people added to a shared document."""
    trashed: set[str] = field(default_factory=set)
    unexpected: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    """When each write was acknowledged (monotonic seconds)."""


class GaveUpError(Exception):
    """The answer was none a client can go on with."""


@dataclass
class Crowd:
    """People in one workspace with one document they all write, and their ledger."""

    api: Api
    people: list[Person]
    workspace_id: str
    shared_id: str
    ledger: Ledger
    random: random.Random
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def write(self) -> None:
        """Write until `over`; a request on its way is brought to an answer first."""
        async with asyncio.TaskGroup() as group:
            for number, person in enumerate(self.people):
                dice = random.Random(self.random.random())
                writer = Writer(self, person, dice, keyed=number % 4 != 3)
                group.create_task(writer.run(shares=number % 2 == 0))


class Writer:
    """One person's work."""

    def __init__(self, crowd: Crowd, person: Person, dice: random.Random, *, keyed: bool) -> None:
        self._crowd = crowd
        self._ledger = crowd.ledger
        self._person = person
        self._dice = dice
        self._keyed = keyed

    async def run(self, *, shares: bool) -> None:
        """Documents of one's own; now and then the shared one, one's profile, the workspace's name."""
        while not self._crowd.over.is_set():
            try:
                await self._live()
                if shares:
                    await self._share()
                await self._rename_self()
                if self._person is self._crowd.people[0]:  # its owner
                    await self._rename_workspace()
            except GaveUpError as error:
                self._ledger.unexpected.append(str(error))

    async def _live(self) -> None:
        """One document from its first to its last write."""
        text = f"# {self._person.name}\n\n".encode()
        made = await self._create(text)
        document_id, version = str(made["id"]), int(made["version"])
        self._ledger.created.add(document_id)
        self._ledger.contents[document_id, version] = digest(text)
        texts = {version: text}
        for _ in range(self._dice.randrange(LIVES)):
            if self._crowd.over.is_set():
                return
            kind = self._dice.choices((self._save, self._edit, self._restore_version, self._retitle), (6, 3, 1, 2))[0]
            version = await kind(document_id, version, texts)
        if self._dice.random() < 0.3:
            await self._trash(document_id, version)

    async def _create(self, text: bytes) -> dict[str, Any]:
        """With a key, or with an id of the client's: then it may have been there since an answer that was lost."""
        id_ = str(uuid4())
        more = {"key": _key()} if self._keyed else {"id": id_}
        create = partial(self._person.create, self._crowd.workspace_id, "Chaos", text, expect=(), **more)
        answer = await self._insist("create", create, 201, 409)
        if answer.status == 409:
            answer = await self._read(f"/v1/documents/{id_}")
        made: dict[str, Any] = answer.json()
        return made

    async def _save(self, document_id: str, version: int, texts: dict[int, bytes]) -> int:
        lines = LARGE if self._dice.random() < 0.1 else 1
        text = texts[max(texts)][:4096] + "".join(f"Line {secrets.token_hex(16)}\n" for _ in range(lines)).encode()
        path, headers = f"/v1/documents/{document_id}/content", _seen(version) | {"Content-Type": "text/markdown"}
        return await self._content("save", "PUT", path, headers, document_id, texts, text, data=text)

    async def _edit(self, document_id: str, version: int, texts: dict[int, bytes]) -> int:
        line = f"Line {secrets.token_hex(16)}\n"
        text = texts[max(texts)] + line.encode()
        path, body = f"/v1/documents/{document_id}/content", {"edits": [{"append": line}]}
        return await self._content("edit", "PATCH", path, _seen(version), document_id, texts, text, body=body)

    async def _restore_version(self, document_id: str, version: int, texts: dict[int, bytes]) -> int:
        old = self._dice.choice(sorted(texts))
        path = f"/v1/documents/{document_id}/versions/{old}/restore"
        headers, text = _seen(version), texts[old]
        return await self._content("restore version", "POST", path, headers, document_id, texts, text)

    async def _content(
        self,
        kind: str,
        method: str,
        path: str,
        headers: dict[str, str],
        document_id: str,
        texts: dict[int, bytes],
        text: bytes,
        **what: Any,
    ) -> int:
        if self._keyed or method != "PUT":  # the same content again, on the same base, merges into itself
            headers = headers | {"Idempotency-Key": _key()}
        call = partial(self._person.call, method, path, headers=headers, kind=kind, expect=(), **what)
        saved = (await self._insist(kind, call, 200)).json()
        texts[saved["content_version"]] = text  # an earlier version's if its bytes are the same
        self._ledger.contents[document_id, saved["content_version"]] = digest(text)
        return int(saved["version"])

    async def _retitle(self, document_id: str, version: int, _texts: dict[int, bytes]) -> int:
        path, title = f"/v1/documents/{document_id}", f"Chaos {secrets.token_hex(4)}"
        return await self._change("retitle", path, version, {"title": title})

    async def _rename_workspace(self) -> None:
        path = f"/v1/workspaces/{self._crowd.workspace_id}"
        version = (await self._read(path)).json()["version"]
        name = f"Chaos {secrets.token_hex(4)}"
        await self._change("rename workspace", path, version, {"name": name})

    async def _change(self, kind: str, path: str, version: int, body: dict[str, str]) -> int:
        """A change without a key: if its answer was lost, the next one says it is stale, and a look tells."""
        call = partial(self._person.call, "PATCH", path, headers=_seen(version), kind=kind, expect=(), body=body)
        answer = await self._insist(kind, call, 200, 412)
        if answer.status == 200:
            self._ledger.changes.add((path.rpartition("/")[2], answer.json()["version"]))
            return int(answer.json()["version"])
        return int((await self._read(path)).json()["version"])

    async def _rename_self(self) -> None:
        name = f"Person {secrets.token_hex(4)}"
        body = {"display_name": name}
        call = partial(self._person.call, "PATCH", "/v1/users/me", kind="rename self", expect=(), body=body)
        await self._insist("rename self", call, 200)
        self._ledger.names.setdefault(self._person.id, []).append(name)

    async def _trash(self, document_id: str, version: int) -> None:
        call = partial(self._person.call, "DELETE", f"/v1/documents/{document_id}", kind="trash", expect=())
        await self._insist("trash", call, 204)
        self._ledger.trashed.add(document_id)
        self._ledger.changes.add((document_id, version + 1))

    async def _share(self) -> None:
        """Add a line to what everybody writes, on a base that is stale by now."""
        document_id = self._crowd.shared_id
        base = (await self._read(f"/v1/documents/{document_id}")).json()["version"]
        line = f"{self._person.name} {secrets.token_hex(8)}"
        path, body = f"/v1/documents/{document_id}/content", {"edits": [{"append": line + "\n"}]}
        headers = _seen(base) | {"Idempotency-Key": _key()}
        call = partial(self._person.call, "PATCH", path, headers=headers, kind="share", expect=(), body=body)
        answer = await self._insist("share", call, 200, 412)
        if answer.status == 200:
            self._ledger.contents[document_id, answer.json()["content_version"]] = answer.json()["content_hash"]
            self._ledger.lines.setdefault(document_id, []).append(line)

    async def _read(self, path: str) -> Answer:
        return await self._insist("", partial(self._person.call, "GET", path, kind="read", expect=()), 200)

    async def _insist(self, kind: str, call: Call, *good: int) -> Answer:
        """Ask until there is an answer; counts it if it is a write (has a kind) that was accepted."""
        ledger = self._ledger
        ledger.attempted += bool(kind)
        while True:
            try:
                answer = await call()
            except UnreachableError:
                answer = None
            if answer is not None and answer.status not in AWAY:
                break
            ledger.unanswered += bool(kind)
            await asyncio.sleep(PAUSE_SECONDS)
        if answer.status not in good:
            raise GaveUpError(f"{kind or 'read'}: {answer.status} {answer.problem()}")
        if kind and answer.status < 300:
            ledger.acknowledged += 1
            ledger.writes[kind] += 1
            ledger.times.append(time.monotonic())
        return answer


def _seen(version: int) -> dict[str, str]:
    return {"If-Match": f'"v{version}"'}


def _key() -> str:
    return secrets.token_hex(16)
