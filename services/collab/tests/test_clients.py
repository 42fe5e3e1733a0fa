"""31: the clients people use, unchanged from npm: y-websocket 3 and 2, HocuspocusProvider, TipTap."""

import asyncio
import itertools
from uuid import UUID

import pytest
import pytest_asyncio
from deploy.editors.driver import Editors
from peers import named

pytestmark = pytest.mark.timeout(180)
FLAVOURS = ("y-websocket-3", "y-websocket-2", "hocuspocus")


@pytest_asyncio.fixture(scope="module")
async def editors():
    async with Editors.running() as running:
        yield running


@pytest_asyncio.fixture
async def enter(editors, desk, fleet):
    """Opens an editor of some flavour for somebody."""
    opened = []

    async def enter(flavour: str, person, document, **options):
        async def ticket() -> str:
            return await desk.ticket(person, document["id"])

        base = fleet["collab"].url.replace("http", "ws")
        if flavour in ("hocuspocus", "tiptap"):
            where = {"url": f"{base}/v1/collab/hocuspocus", "token": ticket}
        else:

            async def params():
                return {"ticket": await ticket()}

            where = {"url": f"{base}/v1/collab/ws", "params": params}
        editor = await editors.open(flavour, document=document["id"], kind=document["kind"], **where, **options)
        opened.append(editor)
        return editor

    yield enter
    for editor in opened:
        await editor.close()


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations_with_replacement(FLAVOURS, 2)))
async def test_31_any_two_clients_write_the_same_text(enter, people, ada, workspace, one, other) -> None:
    document = await people.document(ada, workspace, "hello\n", kind="text")
    first, second = await enter(one, ada, document), await enter(other, ada, document)
    await first.wait_for(equals="hello\n")
    await first.type("A", at=0)
    await second.wait_for(equals="Ahello\n")
    await second.type("B", at=0)
    await first.wait_for(equals="BAhello\n")


@pytest.mark.parametrize("flavour", FLAVOURS)
async def test_31_what_is_written_offline_arrives(enter, people, ada, workspace, flavour) -> None:
    document = await people.document(ada, workspace, "", kind="text")
    away, here = await enter(flavour, ada, document), await enter("y-websocket-3", ada, document)
    await away.wait_for(synced=True)
    await away.offline()
    for n in range(500):
        await away.type(f"{n},", at="end")
    await here.type("meanwhile ", at=0)
    await away.online()
    await here.wait_for(contains="499,", seconds=20)
    await away.wait_for(contains="meanwhile", seconds=20)
    assert await here.text() == await away.text()


async def test_31_awareness_is_seen_and_signed(enter, people, ada, workspace, fleet) -> None:
    bob = await named(people, fleet, "Bob")
    await people.join(workspace, bob, "editor")
    document = await people.document(ada, workspace, "", kind="text")
    first, second = await enter("y-websocket-3", ada, document), await enter("hocuspocus", bob, document)
    await second.wait_for(synced=True)
    await second.set_awareness({"user": {"name": "Ada the Great", "color": "#f00"}, "cursor": 1})

    async def seen() -> list[dict]:
        return [state for state in (await first.awareness()).values() if state and state.get("cursor") == 1]

    async with asyncio.timeout(5):
        while not (found := await seen()):
            await asyncio.sleep(0.02)
    assert found == [{"user": {"name": "Bob", "color": "#f00", "id": str(bob.id)}, "cursor": 1}]


async def test_31_hocuspocus_says_when_an_edit_is_durable(enter, people, ada, workspace) -> None:
    document = await people.document(ada, workspace, "", kind="text")
    editor = await enter("hocuspocus", ada, document)
    await editor.wait_for(synced=True)
    for n in range(5):
        await editor.type(f"{n}", at="end")
    async with asyncio.timeout(5):
        while (await editor.read()).unsynced:
            await asyncio.sleep(0.02)


async def test_25_a_viewer_by_hocuspocus_knows_that_it_may_not_write(enter, people, ada, workspace) -> None:
    vic = await people.person("Vic")
    await people.join(workspace, vic, "viewer")
    document = await people.document(ada, workspace, "text", kind="text")
    viewer, writer = await enter("hocuspocus", vic, document), await enter("y-websocket-3", ada, document)
    await viewer.wait_for(equals="text")
    await viewer.type("no", at=0)
    await writer.type("yes", at=0)
    await viewer.wait_for(contains="yes")
    assert await writer.text() == "yestext"
    assert (await viewer.read()).unsynced > 0


async def test_31_tiptap_writes_markdown(enter, people, ada, workspace, fleet) -> None:
    source = (
        "# Title\r\n\r\nA *paragraph*, and\r\n\r\n- [x] a task\r\n- [ ] another\r\n\r\n"
        "| a | b |\r\n| - | - |\r\n| 1 | 2 |\r\n"
    )
    document = await people.document(ada, workspace, source)
    first, second = await enter("tiptap", ada, document), await enter("hocuspocus", ada, document)
    await first.wait_for(contains="another")
    await first.type("My ", block=1, at=0)
    await second.wait_for(contains="My A")
    assert (await first.read()).pm["content"][0]["type"] == "heading"
    versions = fleet["collab"].app.state.resources.versions
    async with asyncio.timeout(10):
        while not await versions.carry(UUID(document["id"])):
            await asyncio.sleep(0.05)
    answer = await ada.http.get(f"/v1/documents/{document['id']}/content")
    assert answer.content.decode() == source.replace("A *par", "My A *par")
