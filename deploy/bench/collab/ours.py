"""Ours: a private, durable fleet of which collab is started afresh for every run; documents and tickets by HTTP."""

import asyncio
import tempfile
import time
import uuid
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import psutil
from pycrdt import merge_updates

from deploy.bench.collab.client import Door, join, leave
from deploy.bench.collab.edits import LongDocument, text_of
from deploy.bench.collab.servers import tree
from deploy.bench.collab.wire import Framing, YWebsocket
from deploy.bench.rest import say
from deploy.client import Api, Person, at_most, invitation_token
from deploy.local.servers import Servers, start
from deploy.tests import processes
from deploy.tests.environment import migrated

SERVICES = ("auth-gateway", "documents", "collab")
PEOPLE = 8
AT_ONCE = 8
TICKET_SECONDS = 30.0
"""How long we use a ticket; it is valid twice as long."""
SETTLE_SECONDS = 1.0
"""Until the services have heard of new documents, so that this is not measured."""
EDITS_A_MESSAGE = 64
"""Of the long document: a client may send 200 messages a second."""
FILL_SECONDS = 300.0
LIFTED = {
    "MDC_RATE_READ_PER_MINUTE": "10000000",
    "MDC_RATE_WRITE_PER_MINUTE": "10000000",
    "MDC_RATE_ANONYMOUS_PER_MINUTE": "10000000",
    "AUTH_GATEWAY_MAILS_PER_MINUTE": "1000",
    "AUTH_GATEWAY_LOGIN_ATTEMPTS_PER_MINUTE": "1000",
}
"""Limits that a generator of one address and few people would meet."""


class Place:
    """The running fleet, who works in it, and where."""

    def __init__(self, fleet: processes.Fleet, backing: Servers, people: list[Person], workspace: str) -> None:
        self.fleet = fleet
        self.backing = backing
        self.long: str | None = None
        self._people = people
        self._workspace = workspace
        self._tickets: dict[str, tuple[float, str]] = {}

    async def documents(self, count: int) -> list[str]:
        """New empty texts; their ids."""

        async def one(number: int) -> str:
            person = self._people[number % len(self._people)]
            answer = await person.create(self._workspace, f"Bench {uuid.uuid4().hex}", b"", kind="text")
            return str(answer.json()["id"])

        made = await at_most(AT_ONCE, [partial(one, number) for number in range(count)])
        await asyncio.sleep(SETTLE_SECONDS)
        return made

    async def ticket(self, document: str) -> str:
        """One that is still good."""
        got, ticket = self._tickets.get(document, (0.0, ""))
        if time.monotonic() > got + TICKET_SECONDS:
            person = self._people[hash(document) % len(self._people)]
            answer = await person.call("POST", f"/v1/collab/documents/{document}/ticket", expect=(200, 201))
            ticket = str(answer.json()["ticket"])
            self._tickets[document] = (time.monotonic(), ticket)
        return ticket


class Fleets:
    """Starts the fleet when it is first needed; both framings measure the same one."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()
        self._place: Place | None = None

    async def place(self) -> Place:
        """The fleet, with people in it."""
        if self._place is None:
            self._place = await self._settle()
        return self._place

    async def close(self) -> None:
        """End it."""
        await self._stack.aclose()
        self._place = None

    async def _settle(self) -> Place:
        say("starting a private fleet")
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="mdc-bench-"))
        backing = self._stack.enter_context(start(durable=True))
        environment = migrated(backing, Path(folder)) | LIFTED
        fleet = self._stack.enter_context(processes.fleet(environment, SERVICES))
        for process in fleet.processes.values():
            await process.start()
        await fleet.until_ready()
        api = await self._stack.enter_async_context(Api(fleet.url))
        run = uuid.uuid4().hex
        people = [await api.sign_up(f"b{n}-{run}@example.org", uuid.uuid4().hex, f"Bench {n}") for n in range(PEOPLE)]
        workspace = await people[0].make_workspace("Bench")
        for person in people[1:]:
            await people[0].invite(workspace, person.email)
            await person.accept_invitation(await invitation_token(fleet.mails, person.email))
        return Place(fleet, backing, people, workspace)


FLEETS = Fleets()


class Ours:
    """The collab service through one of its two protocols."""

    node = False
    stores = True
    most_clients = 500.0
    most_rate = 200.0
    promise = "committed to PostgreSQL"
    durable = True

    def __init__(self, framing: Framing, *, through_gateway: bool) -> None:
        self.name = f"ours/{framing.name}"
        self.framing = framing
        self._through_gateway = through_gateway
        self._place: Place | None = None

    @property
    def place(self) -> Place:
        assert self._place is not None
        return self._place

    async def start(self, long: LongDocument | None = None) -> None:
        self._place = await FLEETS.place()
        if long and self._place.long is None:
            await self._restart()
            self._place.long = await self._fill(long)
        await self._restart()

    async def _restart(self) -> None:
        collab = self.place.fleet["collab"]
        await asyncio.to_thread(collab.stop)
        await collab.start()
        await collab.until_ready()

    async def stop(self) -> None:
        """It goes on until the next start, or the end."""

    async def close(self) -> None:
        await FLEETS.close()

    async def documents(self, count: int) -> list[str]:
        return await self.place.documents(count)

    async def cold(self) -> str:
        assert self.place.long is not None
        return self.place.long

    async def doors(self, documents: Sequence[str]) -> list[Door]:
        different = list(dict.fromkeys(documents))
        tickets = await at_most(AT_ONCE, [partial(self.place.ticket, document) for document in different])
        by_document = dict(zip(different, tickets, strict=True))
        return [self._door(document, by_document[document]) for document in documents]

    def _door(self, document: str, ticket: str) -> Door:
        fleet = self.place.fleet
        port = urlsplit(fleet.url).port if self._through_gateway else int(fleet.environment["COLLAB_PORT"])
        assert port is not None
        if self.framing.name == YWebsocket.name:
            return Door(port, f"/v1/collab/ws/{document}?ticket={ticket}", document)
        return Door(port, "/v1/collab/hocuspocus", document, ticket)

    def processes(self) -> list[psutil.Process]:
        return tree(self.place.fleet["collab"].pid)

    def databases(self) -> list[psutil.Process]:
        return tree(self.place.backing["postgres"].pid)

    async def _fill(self, long: LongDocument) -> str:
        """Type the long document and wait until another reader has all of it."""
        say(f"typing {long.count:,} edits")
        (document,) = await self.documents(1)
        (writer,) = await join(await self.doors([document]), self.framing)
        updates = await asyncio.to_thread(long.updates)
        for at in range(0, len(updates), EDITS_A_MESSAGE):
            some = merge_updates(*updates[at : at + EDITS_A_MESSAGE])
            writer.send(self.framing.update(document, some))
        text, end = await asyncio.to_thread(long.text), time.monotonic() + FILL_SECONDS
        while await self._text(document) != text:
            if writer.ended or time.monotonic() > end:
                raise TimeoutError(f"the long document did not arrive: {writer.ended}")
            await asyncio.sleep(1.0)
        leave([writer])
        return document

    async def _text(self, document: str) -> str:
        (reader,) = await join(await self.doors([document]), self.framing, keep=True)
        leave([reader])
        return text_of(reader.updates)
