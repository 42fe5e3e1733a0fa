"""Devices that sync in the storm: what was typed must be there afterwards, once, and the same on all of them."""

import asyncio
import random
import secrets
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from common.identifiers import uuid7
from deploy.client import Person
from deploy.device import Device, SqliteStore
from deploy.device.client import AWAY, RefusedError

EACH = 2
"""Devices of each person."""
PAUSE_SECONDS = 0.4
OFFLINE_SECONDS = 4.0
REST_SECONDS = 120.0
CONTENT = ("create", "update")


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
            desks[0].device.state.create(workspace_id, f"Shared {number}", "begin\n\nmiddle\n\nend\n")
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
        documents = [id_ for entity, id_ in state.heads if entity == "document"]
        text = state.text(self._dice.choice(documents)) if documents else None
        if text is None or self._dice.random() < 0.1:
            state.create(self._workspace_id, "Note", f"{word}\n")
        else:
            id_ = next(one for one in documents if state.text(one) == text)
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
        """Let all come to rest; what is wrong then."""
        found = list(self.unexpected)
        async with asyncio.timeout(REST_SECONDS):
            quiet = 0
            while quiet < 3:
                told = 0
                for desk in self.desks:
                    await desk.sync()
                    told += await desk.device.pull()
                quiet = 0 if told or any(desk.device.state.queue for desk in self.desks) else quiet + 1
                await asyncio.sleep(0.3)
        first = await self._texts(self.desks[0])
        words = Counter(word for text in first.values() for word in text.split())
        for number, desk in enumerate(self.desks):
            if missing := (desk.typed | desk.acknowledged) - words.keys():
                kept = " ".join(one["content"] for one in desk.device.state.drafts.values()).split()
                found.append(f"device {number} lost {len(missing - set(kept))} words, {len(missing)} with drafts")
            if await self._texts(desk) != first:
                found.append(f"device {number} does not hold what the first one holds")
            if repairs := desk.repairs + desk.device.repairs:
                found.append(f"device {number} had to mend what differed {repairs} times")
        for text in first.values():
            doubled = [word for word, count in Counter(text.split()).items() if count > 1 and word.startswith("w")]
            found += [f"{len(doubled)} words are in one text twice"] if doubled else []
        return found

    async def _texts(self, desk: Desk) -> dict[str, str]:
        documents = [id_ for entity, id_ in desk.device.state.heads if entity == "document"]
        return {id_: await desk.device.fetch(id_) for id_ in documents}

    def __str__(self) -> str:
        typed = sum(len(desk.typed) for desk in self.desks)
        statuses: Counter[str] = sum((desk.statuses for desk in self.desks), Counter())
        results = ", ".join(f"{count:,} {status}" for status, count in statuses.most_common())
        return f"{len(self.desks)} devices typed {typed:,} words: {results}"
