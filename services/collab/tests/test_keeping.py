"""What is kept of a live document: compaction, closing and opening, limits, trash; and what junk does not break."""

import asyncio
import random
from base64 import b64decode
from uuid import UUID

import aiohttp
import pytest
from peers import Peer
from pycrdt import Doc, Text

from collab.domain import states, wire
from collab.domain.engine import EMPTY_STATE, merged
from collab.domain.presence import Entry, write_entries
from collab.errors import DrainingError, close_code
from collab.rooms import Guest, Member
from collab.rooms import room as rooms
from collab.service import HocuspocusSocket, hocuspocus
from collab.service import versions as carrying
from common.identifiers import uuid7

TEXT = {"kind": "text"}
SPLIT = ("AQEBAAQBB2NvbnRlbnQGePCfmIB5AA==", "AQIBBMYBAQECAWIBMYYBAwFiBG51bGwA", "AQEBBsQBAQEEAXEA", "AAEBAQAC")
"""Yjs 13.6: 'x😀y', a format that begins inside the surrogate pair, 'q' behind its half, 'x' and that half deleted."""


@pytest.fixture
def own(fleet):
    return fleet["collab"].app.state.resources


async def row_of(own, document) -> dict:
    row, _ = await own.log.standing(UUID(document["id"]))
    return row


async def carry(own, document_id: UUID) -> None:
    async with asyncio.timeout(20):
        while not await own.versions.carry(document_id):
            await asyncio.sleep(0.02)


async def stored(own, document) -> str:
    _, updates = await own.log.updates(UUID(document["id"]), 1)
    doc: Doc = Doc()
    for update in updates:
        doc.apply_update(update)
    return str(doc.get("content", type=Text))


async def test_16_compaction_against_writers(desk, people, ada, workspace, own, monkeypatch) -> None:
    monkeypatch.setattr(carrying, "COMPACT_ENTRIES", 5)
    document = await people.document(ada, workspace, "", **TEXT)
    id_, peer = UUID(document["id"]), await desk.open(ada, document["id"])
    for n in range(40):
        peer.text.insert(len(peer.text), f"{n},")
        await asyncio.sleep(0.02)
        if n % 8 == 7:
            await carry(own, id_)
    await asyncio.sleep(0.1)
    await carry(own, id_)
    row = await row_of(own, document)
    assert row["snapshot_seq"] > 0, {k: v for k, v in row.items() if k != "mark_state"}
    assert not row["verbatim"]
    assert await stored(own, document) == str(peer.text) == "".join(f"{n}," for n in range(40))
    own.hall.close(own.hall.rooms[id_], DrainingError())
    again = await desk.open(ada, document["id"])
    await again.until_says("".join(f"{n}," for n in range(40)))


def test_16_a_state_of_many_clients_is_compacted() -> None:
    doc: Doc = Doc()
    updates = []
    dice = random.Random(3)
    for client in range(1, 60):
        other: Doc = Doc(client_id=dice.randrange(2**53))
        other.apply_update(doc.get_update())
        before = doc.get_state()
        other.get("content", type=Text).insert(0, f"{client} ")
        doc.apply_update(other.get_update())
        updates.append(doc.get_update(before))
    assert states.compact("text", updates) is not None


async def test_06_a_split_surrogate_pair_is_not_compacted_but_served_as_it_was_told(
    desk, people, ada, workspace, own, monkeypatch
) -> None:
    document = await people.document(ada, workspace, "", **TEXT)
    id_, peer = UUID(document["id"]), await desk.open(ada, document["id"])
    monkeypatch.setattr(carrying, "COMPACT_ENTRIES", 1)
    for update in SPLIT:
        peer.say(wire.update_message(b64decode(update)))
        await asyncio.sleep(0.03)
    await carry(own, id_)
    row = await row_of(own, document)
    assert (row["verbatim"], row["snapshot_seq"]) == (True, 0)
    await peer.until_closed()
    await desk.open(ada, document["id"])
    served = own.hall.rooms[id_].diff(EMPTY_STATE)
    _, updates = await own.log.updates(id_, 1)
    assert served == merged(updates) != own.hall.rooms[id_].replica.diff()


async def test_14_closing_and_coming_again_at_once_loses_nothing(desk, people, ada, workspace, own) -> None:
    document = await people.document(ada, workspace, "", **TEXT)
    id_, doc = UUID(document["id"]), Doc()
    for n in range(8):
        peer = await desk.open(ada, document["id"], doc=doc)
        peer.text.insert(len(peer.text), f"{n},")
        carrying_on = asyncio.create_task(carry(own, id_))
        await asyncio.sleep(random.uniform(0, 0.02))
        if room := own.hall.rooms.get(id_):
            room.when_settled(lambda room=room: own.hall.close(room, DrainingError()))
        await peer.until_closed()
        await carrying_on
        await peer.leave()
    last = await desk.open(ada, document["id"], doc=doc)
    await asyncio.sleep(0.1)
    assert await stored(own, document) == str(last.text) == "0,1,2,3,4,5,6,7,"


async def test_a_removed_author_is_still_the_author(desk, people, ada, workspace, own) -> None:
    bob = await people.person("Bob")
    await people.join(workspace, bob, "editor")
    document = await people.document(ada, workspace, "", **TEXT)
    peer = await desk.open(bob, document["id"])
    peer.text.insert(0, "bob was here\n")
    await asyncio.sleep(0.1)
    answer = await ada.http.delete(f"/v1/workspaces/{workspace}/members/{bob.id}")
    assert answer.status_code == 204
    await carry(own, UUID(document["id"]))
    assert (await ada.http.get(f"/v1/documents/{document['id']}/content")).text == "bob was here\n"
    [newest, *_] = (await ada.http.get(f"/v1/documents/{document['id']}/versions")).json()["items"]
    assert newest["contributors"] == [str(bob.id)]


async def test_the_trash_ends_a_live_document_and_keeps_what_was_typed(desk, people, ada, workspace, own) -> None:
    document = await people.document(ada, workspace, "", **TEXT)
    peer = await desk.open(ada, document["id"])
    peer.text.insert(0, "last words\n")
    await asyncio.sleep(0.1)
    head = await ada.http.get(f"/v1/documents/{document['id']}")
    await ada.http.delete(f"/v1/documents/{document['id']}", headers={"If-Match": head.headers["etag"]})
    assert await peer.until_closed() == 4404
    await carry(own, UUID(document["id"]))
    head = await ada.http.get(f"/v1/documents/{document['id']}")
    answer = await ada.http.post(f"/v1/documents/{document['id']}/restore", headers={"If-Match": head.headers["etag"]})
    assert answer.status_code == 200, answer.text
    assert (await ada.http.get(f"/v1/documents/{document['id']}/content")).text == "last words\n"


async def test_a_document_that_can_be_stored_can_be_opened_and_not_grow_for_ever(
    desk, people, ada, workspace, own, monkeypatch
) -> None:
    big = "".join(f"line {n} of a large document{'.' * 970}\n" for n in range(10_400))[: 10 * 1024 * 1024 - 200_000]
    document = await people.document(ada, workspace, big, **TEXT)
    peer = await desk.open(ada, document["id"])
    assert str(peer.text) == big
    monkeypatch.setattr(rooms, "MAX_STATE_BYTES", 10 * 1024 * 1024)
    peer.text.insert(0, "x" * 300_000)
    assert await peer.until_closed(20) == 4413
    assert len(await stored(own, document)) == len(big), "refused before it was stored"


class Line:
    """A socket that goes nowhere."""

    full = False

    def __init__(self) -> None:
        self.ended = 0

    def write(self, frames: bytes) -> None:
        pass

    def charge(self, messages: int) -> None:
        pass

    def end(self, code: int, reason: str = "") -> None:
        self.ended += 1

    def end_with(self, error) -> None:
        assert 4400 <= close_code(error) < 4600
        self.ended += 1


@pytest.mark.timeout(240)
async def test_09_ten_thousand_frames_of_nonsense(desk, people, ada, workspace, fleet, own) -> None:
    document = await people.document(ada, workspace, "hello", **TEXT)
    good = await desk.open(ada, document["id"])
    ticket = (await desk.ticket(ada, document["id"])).encode()
    room = own.hall.rooms[UUID(document["id"])]
    name = wire.sized(document["id"].encode())
    dice, line = random.Random(9), Line()
    update = wire.update_message(good.doc.get_update())
    presence = wire.awareness_message(write_entries([Entry(5, 1, b'{"a":1}')]))
    token = name + b"\x02\x00" + wire.sized(ticket)
    sample = [update, update, wire.state_vector_message(b"\x00"), wire.diff_message(update[3:]), presence, token]
    member = Member(line, room, Guest(ada.id, "Ada", edits=True))
    member.enter()
    spoken = HocuspocusSocket(line, own.reception)
    for receive, prefix in ((member.receive, b""), (spoken.receive, name)):
        for number in range(10_000):
            frame = bytearray(prefix + dice.choice(sample))
            for _ in range(dice.randrange(5)):
                frame[dice.randrange(len(frame))] = dice.randrange(256)
            receive(bytes(frame[: dice.randrange(len(frame) + 1)]))
            if number % 100 == 0:
                await asyncio.sleep(0.001)
    assert line.ended > 5_000
    member.leave()
    for channel in list(spoken._channels.values()):
        channel.over.set()
    good.text.insert(0, "still ")
    await (await desk.open(ada, document["id"])).until(lambda: True)
    await good.until(lambda: str(good.text).startswith("still "))
    other = await desk.open(ada, document["id"])
    await other.until(lambda: str(other.text) == str(good.text))


async def test_27_too_much_before_the_token_is_looked_at(desk, people, ada, workspace, fleet, monkeypatch) -> None:
    document = await people.document(ada, workspace, "hello", **TEXT)
    ticket = await desk.ticket(ada, document["id"])
    name = wire.sized(document["id"].encode())
    own = fleet["collab"].app.state.resources
    enter = own.door.enter

    async def slow(*arguments, **options):
        await asyncio.sleep(1.0)
        return await enter(*arguments, **options)

    monkeypatch.setattr(own.door, "enter", slow)
    async with aiohttp.ClientSession() as session:
        socket = await session.ws_connect(fleet["collab"].url + "/v1/collab/hocuspocus", max_msg_size=0)
        await socket.send_bytes(name + b"\x02\x00" + wire.sized(ticket.encode()))
        for _ in range(20):
            await socket.send_bytes(name + wire.update_message(b"x" * 100_000))
        assert await closed(socket) == 4503
        socket = await session.ws_connect(fleet["collab"].url + "/v1/collab/hocuspocus", max_msg_size=0)
        for _ in range(hocuspocus.MAX_DOCUMENTS + 1):
            await socket.send_bytes(wire.sized(str(uuid7()).encode()) + b"\x02\x00" + wire.sized(ticket.encode()))
        assert await closed(socket) == 4503


async def closed(socket: aiohttp.ClientWebSocketResponse) -> int | None:
    """The code it is closed with."""
    async with asyncio.timeout(5):
        async for _ in socket:
            pass
    return socket.close_code


async def test_a_socket_that_never_shows_a_token_is_closed(fleet, monkeypatch) -> None:
    monkeypatch.setattr(hocuspocus, "AUTH_SECONDS", 0.2)
    async with aiohttp.ClientSession() as session:
        socket = await session.ws_connect(fleet["collab"].url + "/v1/collab/hocuspocus")
        async with asyncio.timeout(2):
            await socket.receive()
        assert socket.closed


async def test_03_positions_are_bytes_and_never_inside_a_character(desk, people, ada, workspace, own) -> None:
    document = await people.document(ada, workspace, "hé😀llo\n日本\n", **TEXT)
    peer = await desk.open(ada, document["id"])
    head = await ada.http.get(f"/v1/documents/{document['id']}")
    await ada.http.put(
        f"/v1/documents/{document['id']}/content", content="hé😀l😀lo\n日x本\n".encode(),
        headers={"If-Match": head.headers["etag"], "Content-Type": "text/markdown"},
    )  # fmt: skip
    await peer.until_says("hé😀l😀lo\n日x本\n")
    assert isinstance(peer, Peer)
