"""Devices that sync in the storm: what was typed must be there afterwards, once, and the same on all of them."""

import asyncio
import random
import secrets
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from common.identifiers import uuid7
from deploy.client import Person
from deploy.device import Device, SqliteStore
from deploy.device.client import AWAY, RefusedError
from deploy.progress import say

EACH = 2
"""Devices of each person."""
PAUSE_SECONDS = 0.4
OFFLINE_SECONDS = 4.0
REST_SECONDS = 120.0
CONTENT = ("create", "update")
FIRST = ("begin", "middle", "end")


@dataclass
class Desk:
    """One device: switched off and on again as a crash would, and what its user typed on it."""

    person: Person
    file: Path
    url: str
    session: aiohttp.ClientSession
    typed: set[str] = field(default_factory=set)
    acknowledged: set[str] = field(default_factory=set)
    statuses: Counter[str] = field(default_factory=Counter)
    repairs: int = 0

    def __post_init__(self) -> None:
        self.device = self._on()

    def _on(self) -> Device:
        self._store = SqliteStore(self.file)
        return Device(self.url, lambda: self.person.token, self._store, lambda: str(uuid7()), self.session)

    def crash(self) -> None:
        """Whatever was not committed is gone."""
        self._store.close()
        self.repairs += self.device.repairs
        self.device = self._on()

    async def sync(self) -> None:
        """Hand in and catch up; which words were acknowledged."""
        texts = {op["op_id"]: op["content"] for op in self.device.state.queue.values() if op["type"] in CONTENT}
        for result in await self.device.push():
            self.statuses[result["status"]] += 1
            if result["status"] not in ("rejected", "blocked"):
                self.acknowledged |= set(texts.get(result["op_id"], "").split())
        await self.device.pull()

    def close(self) -> None:
        """Switch off."""
        self._store.close()


class Devices:
    """All of them, in a workspace of their own."""

    def __init__(self, desks: list[Desk], workspace_id: str, dice: random.Random) -> None:
        self.desks = desks
        self.unexpected: list[str] = []
        self._workspace_id = workspace_id
        self._dice = dice

    @classmethod
    async def gather(
        cls, url: str, people: list[Person], workspace_id: str, folder: Path, session: aiohttp.ClientSession, seed: int
    ) -> "Devices":
        """Register them; the first makes what all of them write in."""
        desks = [
            Desk(person, folder / f"{person.id}-{number}", url, session) for person in people for number in range(EACH)
        ]
        for desk in desks:
            await desk.device.register()
        devices = cls(desks, workspace_id, random.Random(seed))
        for number in range(3):
            desks[0].device.state.create(workspace_id, f"Shared {number}", "\n\n".join(FIRST))
        desks[0].device.save()
        for desk in desks:
            await desk.sync()
        return devices

    async def write(self, over: asyncio.Event) -> None:
        """Type, crash, go offline, come back, until it is over."""
        async with asyncio.TaskGroup() as group:
            for desk in self.desks:
                group.create_task(self._live(desk, over))

    async def _live(self, desk: Desk, over: asyncio.Event) -> None:
        while not over.is_set():
            self._type(desk)
            chance = self._dice.random()
            if chance < 0.05:
                await asyncio.sleep(self._dice.uniform(0, OFFLINE_SECONDS))
                continue
            if chance < 0.1:
                desk.crash()
            await self._try(desk)
            await asyncio.sleep(self._dice.uniform(0, PAUSE_SECONDS))

    def _type(self, desk: Desk) -> None:
        state = desk.device.state
        word = f"w{secrets.token_hex(8)}"
        documents = self._documents(desk)
        id_ = self._dice.choice(documents) if documents else None
        text = state.text(id_) if id_ else None
        if id_ is None or text is None or self._dice.random() < 0.1:
            state.create(self._workspace_id, "Note", f"{word}\n")
        else:
            paragraphs = text.split("\n\n")
            paragraphs.insert(self._dice.randrange(len(paragraphs) + 1), word)
            state.edit(id_, "\n\n".join(paragraphs))
        desk.device.save()
        desk.typed.add(word)

    async def _try(self, desk: Desk) -> None:
        try:
            await desk.sync()
        except AWAY:
            return
        except RefusedError as error:
            self.unexpected.append(f"a device was refused: {error}")

    async def judge(self) -> list[str]:
        """Let all come to rest; what is wrong then. The truth is what the documents' own API says."""
        say("  devices come to rest")
        truth = await self._at_rest()
        words = {word for text in truth.values() for word in text.split()}
        found = list(self.unexpected)
        for number, desk in enumerate(self.desks):
            if missing := (desk.typed | desk.acknowledged) - words:
                found.append(f"device {number} lost {len(missing)} words: {', '.join(sorted(missing)[:3])}")
            if await self._texts(desk) != truth:
                found.append(f"device {number} does not hold what the server holds")
            if drafts := len(desk.device.state.drafts):
                found.append(f"device {number} was refused {drafts} texts")
            if repairs := desk.repairs + desk.device.repairs:
                found.append(f"device {number} had to mend what differed {repairs} times")
        for id_, text in truth.items():
            doubled = [word for word, count in Counter(text.split()).items() if count > 1 and word not in FIRST]
            found += [f"{len(doubled)} words are in {id_} twice"] if doubled else []
        for desk in self.desks:
            desk.close()
        return found

    async def _at_rest(self) -> dict[str, str]:
        """Every document's text once all queues are empty and all devices hold it, or patience is at its end."""
        deadline = time.monotonic() + REST_SECONDS
        while True:
            for desk in self.desks:
                await desk.device.sync()
            truth = await self._truth()
            held = [await self._texts(desk) for desk in self.desks]
            if time.monotonic() > deadline or all(texts == truth for texts in held):
                return truth
            await asyncio.sleep(PAUSE_SECONDS)

    async def _truth(self) -> dict[str, str]:
        reader = self.desks[0].person
        listed = await reader.pages("/v1/documents", "list", workspace_id=self._workspace_id)
        return {one["id"]: (await reader.content(one["id"])).body.decode() for one in listed}

    async def _texts(self, desk: Desk) -> dict[str, str]:
        return {id_: await desk.device.fetch(id_) for id_ in self._documents(desk)}

    def _documents(self, desk: Desk) -> list[str]:
        heads = desk.device.state.heads.items()
        return [
            id_ for (entity, id_), head in heads
            if entity == "document" and head["data"].get("workspace_id") == self._workspace_id
        ]  # fmt: skip

    def __str__(self) -> str:
        typed = sum(len(desk.typed) for desk in self.desks)
        statuses: Counter[str] = sum((desk.statuses for desk in self.desks), Counter())
        results = ", ".join(f"{count:,} {status}" for status, count in statuses.most_common())
        return f"{len(self.desks)} devices typed {typed:,} words: {results}"
