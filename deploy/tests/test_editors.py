"""Real npm editors against the npm servers: what the equipment for live co-editing can see, and that it can fail."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import pytest
import pytest_asyncio
from deploy.bench.collab.edits import Script
from deploy.bench.collab.run import Load, run
from deploy.bench.collab.servers import Peer, peers
from deploy.editors.driver import Editor, EditorError, Editors, Flavour

pytestmark = pytest.mark.slow

SHORT = 1.5
FLAVOURS: list[Flavour] = ["y-websocket-3", "y-websocket-2", "hocuspocus"]


@dataclass(frozen=True)
class Table:
    """Two servers and a node process of editors."""

    editors: Editors
    hocuspocus: Peer
    websocket: Peer

    async def open(self, flavour: Flavour, document: str, **more: object) -> Editor:
        provider = more.get("provider", "hocuspocus" if flavour == "tiptap" else flavour)
        server = self.hocuspocus if provider == "hocuspocus" else self.websocket
        options = {"token": "good", "backoff": 100, **more}
        return await self.editors.open(flavour, url=f"ws://127.0.0.1:{server.port}", document=document, **options)

    async def pair(self, flavour: Flavour, **more: object) -> tuple[Editor, Editor]:
        (document,) = await self.websocket.documents(1)
        return await self.open(flavour, document, **more), await self.open(flavour, document, **more)


Check = Callable[[Table], Awaitable[None]]


@pytest_asyncio.fixture(scope="module")
async def sound() -> AsyncIterator[Table]:
    async with running({}) as made:
        yield made


@pytest_asyncio.fixture(scope="module")
async def mute() -> AsyncIterator[Table]:
    async with running({"PLANTED": "mute"}) as made:
        yield made


@pytest.fixture
def table(sound: Table) -> Iterator[Table]:
    """Servers that do what they should; nothing may go wrong inside of node."""
    yield sound
    errors, sound.editors.errors[:] = list(sound.editors.errors), []
    assert not errors


@asynccontextmanager
async def running(environment: dict[str, str]) -> AsyncIterator[Table]:
    hocuspocus, websocket = peers()[:2]
    async with Editors.running() as editors:
        try:
            for server in (hocuspocus, websocket):
                await server.start(environment={"TOKENS": "good,read,bench", **environment})
            yield Table(editors, hocuspocus, websocket)
        finally:
            for server in (hocuspocus, websocket):
                await server.stop()


async def texts_converge(table: Table, flavour: Flavour) -> None:
    alice, bob = await table.pair(flavour)
    for editor in (alice, bob):
        await editor.wait_for(synced=True)
    await alice.type("hello 😀")
    await bob.wait_for(SHORT, equals="hello 😀")
    await bob.type("> ", at=0)
    await alice.wait_for(SHORT, equals="> hello 😀")
    await alice.format(0, 1, {"bold": {}})
    await alice.delete(2, 1)
    await same(alice, bob)
    assert await bob.text() == "> ello 😀"


async def fragments_converge(table: Table, flavour: Flavour) -> None:
    alice, bob = await table.pair(flavour, kind="prosemirror")
    for editor in (alice, bob):
        await editor.wait_for(synced=True)
    await alice.insert_block({"type": "heading", "attrs": {"level": 2}, "content": [{"type": "text", "text": "Title"}]})
    await alice.insert_block("body")
    await bob.wait_for(SHORT, contains="body")
    await bob.type("the ", at=0, block=1)
    await bob.format(0, 3, {"bold": {}}, block=1)
    await alice.wait_for(SHORT, contains="the body", count=1)
    await bob.set_attributes(0, {"level": 3})
    await same(alice, bob)


async def presence_is_seen(table: Table, flavour: Flavour) -> None:
    alice, bob = await table.pair(flavour)
    for editor in (alice, bob):
        await editor.wait_for(synced=True)
    await alice.set_awareness({"user": {"name": "Alice"}})
    async with asyncio.timeout(SHORT):
        while (await bob.awareness()).get(alice.client_id) != {"user": {"name": "Alice"}}:
            await bob.event("awareness", SHORT)
    await bob.set_awareness_field("cursor", 3)
    await alice.wait_for(SHORT, awareness=2)
    await bob.close()
    await alice.wait_for(SHORT, awareness=1)


async def offline_edits_merge(table: Table, flavour: Flavour) -> None:
    alice, bob = await table.pair(flavour)
    for editor in (alice, bob):
        await editor.wait_for(synced=True)
    await alice.offline()
    await alice.wait_for(status="disconnected")
    await alice.type("alone ")
    await bob.type("meanwhile ")
    assert await bob.text() == "meanwhile "
    await alice.online()
    await alice.wait_for(contains="meanwhile ", count=1)
    await bob.wait_for(SHORT, contains="alone ", count=1)
    await same(alice, bob)


async def tiptap_converges(table: Table, provider: str) -> None:
    alice, bob = await table.pair("tiptap", provider=provider)
    for editor in (alice, bob):
        await editor.wait_for(synced=True)
    task = {"type": "taskItem", "attrs": {"checked": True}, "content": [paragraph("milk")]}
    cell = {"type": "tableRow", "content": [{"type": "tableCell", "content": [paragraph("cell")]}]}
    for block in ("first", {"type": "taskList", "content": [task]}, {"type": "table", "content": [cell]}):
        await alice.insert_block(block)
    await bob.wait_for(SHORT, contains="cell")
    assert await bob.run(["setTextSelection", 2], ["insertContent", "really "]) == [True, True]
    await alice.wait_for(SHORT, contains="really ")
    await alice.type(" and eggs", block=0)
    await bob.format(0, 4, {"bold": {}, "highlight": {}}, block=0)
    await same(alice, bob)
    assert {"taskList", "table"} < {node["type"] for node in ((await bob.read()).pm or {})["content"]}


def paragraph(text: str) -> dict[str, object]:
    return {"type": "paragraph", "content": [{"type": "text", "text": text}]}


async def same(one: Editor, other: Editor) -> None:
    """Until both hold the same and are waiting for nothing."""
    async with asyncio.timeout(SHORT):
        while True:
            mine, theirs = await one.read(), await other.read()
            if (mine.text, mine.json, mine.pm, mine.state_vector) == (
                theirs.text,
                theirs.json,
                theirs.pm,
                theirs.state_vector,
            ):
                assert not mine.pending
                assert not theirs.pending
                return
            await asyncio.sleep(0.02)


CHECKS: dict[str, Check] = {
    f"{check.__name__}-{flavour}": partial(check, flavour=flavour)
    for check in (texts_converge, fragments_converge, presence_is_seen, offline_edits_merge)
    for flavour in FLAVOURS
} | {
    f"tiptap_converges-{provider}": partial(tiptap_converges, provider=provider)
    for provider in ("hocuspocus", "y-websocket-3")
}


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS.keys())
async def test_editors_meet(table: Table, check: Check) -> None:
    await check(table)


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS.keys())
async def test_a_server_that_passes_nothing_on_is_noticed(mute: Table, check: Check) -> None:
    with pytest.raises((EditorError, TimeoutError), match=r"^$|not within|no awareness"):
        await check(mute)


async def test_a_refused_token_is_told_and_fetched_again(table: Table) -> None:
    tokens = iter(["wrong", "good"])

    async def fetch() -> str:
        return next(tokens)

    (document,) = await table.websocket.documents(1)
    alice = await table.open("hocuspocus", document, token=fetch)
    assert (await alice.event("authfailed"))["reason"] == "permission-denied"
    await alice.offline()
    await alice.online()
    assert (await alice.event("authenticated"))["scope"] == "read-write"
    await alice.wait_for(synced=True)


async def test_a_reader_is_told_so_and_keeps_what_is_not_accepted(table: Table) -> None:
    (document,) = await table.websocket.documents(1)
    alice, reader = await table.open("hocuspocus", document), await table.open("hocuspocus", document, token="read")
    assert (await reader.event("authenticated"))["scope"] == "readonly"
    await reader.wait_for(synced=True)
    await reader.type("mine")
    await reader.event("unsynced", number=1)
    await alice.type("yours")
    await reader.wait_for(contains="yours")
    assert await alice.text() == "yours"


async def test_one_socket_carries_many_documents(table: Table) -> None:
    documents = await table.websocket.documents(3)
    shared = [await table.open("hocuspocus", document, socket="one") for document in documents]
    for editor, document in zip(shared, documents, strict=True):
        await editor.wait_for(synced=True)
        await editor.type(document)
    for document in documents:
        reader = await table.open("hocuspocus", document)
        await reader.wait_for(equals=document)


async def test_params_are_fetched_again_after_a_disconnect(table: Table) -> None:
    asked = []

    async def params() -> dict[str, str]:
        asked.append(len(asked))
        return {"ticket": str(len(asked))}

    (document,) = await table.websocket.documents(1)
    alice = await table.open("y-websocket-3", document, params=params)
    await alice.wait_for(synced=True)
    await alice.offline()
    await alice.event("disconnected")
    await alice.online()
    await alice.wait_for(synced=True)
    assert asked == [0, 1]


async def test_what_goes_wrong_says_what_there_is(table: Table) -> None:
    alice, _ = await table.pair("y-websocket-3")
    with pytest.raises(EditorError, match=r"not within 100 ms.*contains.*it is"):
        await alice.wait_for(0.1, contains="nothing of the kind")
    with pytest.raises(EditorError, match="a text document has no insertBlock"):
        await alice.insert_block("x")
    with pytest.raises(EditorError, match="no closed"):
        await alice.event("closed", 0.1)


LOAD = Load(2, 4, 3, 20.0)
SECONDS, EDITS = 0.5, 10
DELIVERED = LOAD.documents * LOAD.writers * EDITS * (LOAD.clients - 1)


async def test_the_generator_sees_everything_arrive(table: Table) -> None:
    for server in (table.hocuspocus, table.websocket):
        outcome = await run(server, LOAD, SECONDS, Script())
        assert outcome.complete
        assert outcome.delivered == DELIVERED
        assert 0 < outcome.percentile(50) <= outcome.percentile(99) < 1000


async def test_the_generator_notices_what_does_not_arrive(mute: Table) -> None:
    for server in (mute.hocuspocus, mute.websocket):
        outcome = await run(server, LOAD, SECONDS, Script())
        assert (outcome.missing, outcome.wrong) == (DELIVERED, 0)


async def test_the_generator_notices_what_a_fresh_client_lacks() -> None:
    async with running({"PLANTED": "forget"}) as forgetful:
        for server in (forgetful.hocuspocus, forgetful.websocket):
            outcome = await run(server, LOAD, SECONDS, Script())
            assert (outcome.missing, outcome.wrong) == (0, LOAD.documents)
