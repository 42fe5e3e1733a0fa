"""Live edits become versions, versions from elsewhere arrive between keystrokes; nothing is lost or said twice."""

import asyncio
from uuid import UUID

import pytest
from pycrdt import XmlFragment

from common.client import PeerUnavailableError

KINDS = ("text", "prosemirror")


class Carrier:
    """Carries now, and waits for whoever is at it already."""

    def __init__(self, versions) -> None:
        self._versions = versions
        self._client = versions._client

    async def carry(self, document_id: UUID) -> bool:
        async with asyncio.timeout(20):
            while not await self._versions.carry(document_id):
                await asyncio.sleep(0.02)
        return True


@pytest.fixture
def versions(fleet):
    return Carrier(fleet["collab"].app.state.resources.versions)


async def content(person, document) -> str:
    answer = await person.http.get(f"/v1/documents/{document['id']}/content")
    return answer.text


async def save(person, document, text: str) -> None:
    head = await person.http.get(f"/v1/documents/{document['id']}")
    answer = await person.http.put(
        f"/v1/documents/{document['id']}/content", content=text.encode(),
        headers={"If-Match": head.headers["etag"], "Content-Type": "text/markdown"},
    )  # fmt: skip
    assert answer.status_code == 200, answer.text


def paragraph(peer, n: int):
    """The text of a block of a rich document."""
    return next(iter(list(peer.doc.get("default", type=XmlFragment).children)[n].children))


async def test_live_edits_become_a_version_with_everybody_who_wrote(desk, people, ada, workspace, versions) -> None:
    bob = await people.person("Bob")
    await people.join(workspace, bob, "editor")
    document = await people.document(ada, workspace, "hello\n", kind="text")
    first, second = await desk.open(ada, document["id"]), await desk.open(bob, document["id"])
    first.text.insert(0, "A")
    await second.until_says("Ahello\n")
    second.text.insert(0, "B")
    await first.until_says("BAhello\n")
    assert await versions.carry(UUID(document["id"]))
    assert await content(ada, document) == "BAhello\n"
    listed = (await ada.http.get(f"/v1/documents/{document['id']}/versions")).json()["items"]
    assert listed[0]["origin"] == "live"
    assert set(listed[0]["contributors"]) == {str(ada.id), str(bob.id)}
    assert await versions.carry(UUID(document["id"]))
    again = (await ada.http.get(f"/v1/documents/{document['id']}/versions")).json()["items"]
    assert len(again) == len(listed), "nothing new, no new version"


async def test_21_a_save_and_live_typing_both_survive(desk, people, ada, workspace, versions) -> None:
    document = await people.document(ada, workspace, "one\n\ntwo\n\nthree\n", kind="text")
    peer = await desk.open(ada, document["id"])
    peer.text.insert(3, "!")
    await asyncio.sleep(0.05)
    await save(ada, document, "one\n\ntwo\n\nthree?\n")
    await peer.until_says("one!\n\ntwo\n\nthree?\n")
    assert await versions.carry(UUID(document["id"]))
    assert await content(ada, document) == "one!\n\ntwo\n\nthree?\n"


async def test_21_the_same_in_a_rich_document(desk, people, ada, workspace, versions) -> None:
    source = "# Title\r\n\r\nfirst *paragraph*\r\n\r\n* item\r\n"
    document = await people.document(ada, workspace, source)
    peer = await desk.open(ada, document["id"])
    assert await versions.carry(UUID(document["id"]))
    assert await content(ada, document) == source
    text = paragraph(peer, 1)
    text.insert(0, "My ")
    await asyncio.sleep(0.05)
    await save(ada, document, source.replace("Title", "New title"))
    await peer.until(lambda: "New title" in str(peer.doc.get("default", type=XmlFragment)))
    assert await versions.carry(UUID(document["id"]))
    assert await content(ada, document) == source.replace("Title", "New title").replace("first", "My first")


async def test_a_reply_that_is_lost_while_typing_goes_on(desk, people, ada, workspace, versions, monkeypatch) -> None:
    document = await people.document(ada, workspace, "start\n", kind="text")
    id_ = UUID(document["id"])
    peer = await desk.open(ada, document["id"])
    peer.text.insert(0, "one ")
    await asyncio.sleep(0.05)
    post = versions._client.post

    async def lose(service, path, *arguments, **options):
        answer = await post(service, path, *arguments, **options)
        if path.endswith("/export"):
            raise PeerUnavailableError("the reply was lost")
        return answer

    monkeypatch.setattr(versions._client, "post", lose)
    with pytest.raises(PeerUnavailableError):
        await versions.carry(id_)
    monkeypatch.undo()
    peer.text.insert(0, "two ")
    await asyncio.sleep(0.05)
    assert await content(ada, document) == "one start\n"
    await save(ada, document, "one start, saved\n")
    await peer.until_says("two one start, saved\n")
    assert await versions.carry(id_)
    assert await content(ada, document) == "two one start, saved\n"


async def test_versions_written_while_nobody_is_there_are_in_it_at_the_next_opening(
    desk, people, ada, workspace, versions, fleet
) -> None:
    document = await people.document(ada, workspace, "first\n", kind="text")
    peer = await desk.open(ada, document["id"])
    peer.text.insert(0, "live ")
    await asyncio.sleep(0.05)
    hall = fleet["collab"].app.state.resources.hall
    await versions.carry(UUID(document["id"]))
    await peer.leave()
    room = hall.rooms[UUID(document["id"])]
    from collab.errors import DrainingError

    hall.close(room, DrainingError())
    await save(ada, document, "live first\nsecond\n")
    await save(ada, document, "live first\nsecond\nthird\n")
    again = await desk.open(ada, document["id"])
    await again.until_says("live first\nsecond\nthird\n")


@pytest.mark.parametrize("seconds", [6, pytest.param(60, marks=pytest.mark.slow)])
async def test_a_save_every_200_ms_beside_typing(desk, people, ada, workspace, versions, seconds) -> None:
    document = await people.document(ada, workspace, "typed:\n\nsaved:\n", kind="text")
    peer = await desk.open(ada, document["id"])
    until, n = asyncio.get_running_loop().time() + seconds, 0

    async def type_on() -> int:
        typed = 0
        while asyncio.get_running_loop().time() < until:
            peer.text.insert(len("typed:"), f"<{typed}>")
            typed += 1
            await asyncio.sleep(0.03)
        return typed

    typing = asyncio.create_task(type_on())
    while asyncio.get_running_loop().time() < until:
        for _ in range(20):
            head = await ada.http.get(f"/v1/documents/{document['id']}?include=content")
            text = head.json()["content"].rstrip("\n") + f"[{n}]\n"
            answer = await ada.http.put(
                f"/v1/documents/{document['id']}/content", content=text.encode(),
                headers={"If-Match": head.headers["etag"], "Content-Type": "text/markdown"},
            )  # fmt: skip
            if answer.status_code == 200:
                n += 1
                break
        await asyncio.sleep(0.2)
    typed = await typing
    await asyncio.sleep(0.5)
    for _ in range(3):
        await versions.carry(UUID(document["id"]))
    text = await content(ada, document)
    for k in range(typed):
        assert text.count(f"<{k}>") == 1, k
    for k in range(n):
        assert text.count(f"[{k}]") == 1, k
    assert str(peer.text) == text


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("source", ["a\r\nb\r\n\r\nc\n", "\ufeffx\n\ny", "\n\n", "", "tabs\tand  \r\nmixed\n\r\n"])
async def test_line_ends_and_byte_order_marks_come_back(desk, people, ada, workspace, versions, kind, source) -> None:
    document = await people.document(ada, workspace, source, kind=kind)
    peer = await desk.open(ada, document["id"])
    await versions.carry(UUID(document["id"]))
    assert await content(ada, document) == source
    if kind == "text":
        assert "\r" not in str(peer.text)
        assert not str(peer.text).startswith("\ufeff")
        peer.text.insert(len(str(peer.text).encode()), "!")
        await asyncio.sleep(0.05)
        await versions.carry(UUID(document["id"]))
        assert await content(ada, document) == source + "!"
