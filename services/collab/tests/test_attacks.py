"""What an independent reviewer broke: each as it was proved, and no more so."""

import asyncio
from urllib.parse import urlparse
from uuid import UUID

import pycrdt
import pytest
from psycopg import errors as pg
from pycrdt import Doc, Text, XmlFragment
from test_versions import content, versions  # noqa: F401 - a fixture

from collab.domain import wire
from collab.domain.engine import Replica
from collab.domain.presence import Entry, signed
from collab.domain.states import export
from collab.errors import DrainingError, FrameInvalidError, StateDamagedError
from collab.repository import LiveRepository
from collab.rooms import Guest, Member
from collab.rooms import room as rooms
from collab.settings import Settings
from common.database import DatabaseUnavailableError

TEXT = {"kind": "text"}


@pytest.fixture
def own(fleet):
    return fleet["collab"].app.state.resources


def made(base: bytes, client: int, *edits: str) -> list[bytes]:
    """Updates of one client on a state, one for each edit."""
    doc: Doc = Doc(client_id=client)
    doc.apply_update(base)
    updates = []
    for edit in edits:
        before = doc.get_state()
        doc.get("content", type=Text).insert(0, edit)
        updates.append(doc.get_update(before))
    return updates


async def test_an_update_that_lacks_something_leaves_nothing_that_is_not_durable(
    desk, people, ada, workspace, own
) -> None:
    document = await people.document(ada, workspace, "hello\n", **TEXT)
    id_, peer = UUID(document["id"]), await desk.open(ada, document["id"])
    base = peer.doc.get_update()
    [whole] = made(base, 1001, "AAA ")
    doc: Doc = Doc(client_id=1001)
    doc.apply_update(base)
    doc.apply_update(whole)
    before = doc.get_state()
    doc.get("content", type=Text).insert(4, "more ")
    behind = doc.get_update(before)
    _, lacking = made(base, 1002, "x", "y")
    peer.say(wire.update_message(pycrdt.merge_updates(whole, lacking)))
    await asyncio.sleep(0.3)
    other = await desk.open(ada, document["id"])
    await other.until(lambda: "AAA " in str(other.text))
    peer.say(wire.update_message(behind))
    other.text.insert(len(other.text), "honest work\n")
    await asyncio.sleep(0.3)
    own.hall.close(own.hall.rooms[id_], DrainingError())
    again = await desk.open(ada, document["id"])
    assert "AAA " in str(again.text)
    assert "honest work" in str(again.text)
    async with asyncio.timeout(10):
        while "honest work" not in await content(ada, document):
            await own.versions.carry(id_)
            await asyncio.sleep(0.05)


def test_a_log_with_a_hole_is_not_exported() -> None:
    first, second = made(Doc().get_update(), 5, "a", "b")
    assert export("text", [first, second], "") == "ba"
    with pytest.raises(StateDamagedError):
        export("text", [second], "")


@pytest.mark.parametrize("kind", ["text", "prosemirror"])
async def test_a_nul_does_not_stop_versions(desk, people, ada, workspace, versions, kind) -> None:  # noqa: F811
    document = await people.document(ada, workspace, "hello\n", kind=kind)
    peer = await desk.open(ada, document["id"])
    where = peer.text
    if kind == "prosemirror":
        where = next(iter(next(iter(peer.doc.get("default", type=XmlFragment).children)).children))
    where.insert(0, "a\0b ")
    await asyncio.sleep(0.1)
    await versions.carry(UUID(document["id"]))
    assert await content(ada, document) == "a b hello\n"
    where.insert(0, "important ")
    await asyncio.sleep(0.1)
    await versions.carry(UUID(document["id"]))
    assert await content(ada, document) == "important a b hello\n"


async def test_who_does_not_read_is_not_answered_again_and_again(desk, people, ada, workspace, fleet, own) -> None:
    document = await people.document(ada, workspace, "x" * 2_000_000, **TEXT)
    ticket = await desk.ticket(ada, document["id"])
    place = urlparse(fleet["collab"].url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port, limit=4096)
    writer.write(
        f"GET /v1/collab/ws/{document['id']}?ticket={ticket} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    await asyncio.sleep(0.5)
    reader._transport.pause_reading()
    question = wire.state_vector_message(b"\x00")
    writer.write((bytes((0x82, 0x80 | len(question))) + b"\0\0\0\0" + question) * 300)
    await asyncio.sleep(1.0)
    [member] = own.hall.rooms[UUID(document["id"])].audience.members
    assert member._socket.transport.get_write_buffer_size() < 6_000_000
    writer.transport.abort()


def test_who_does_not_read_is_not_told_again_who_is_here() -> None:
    class Line:
        full, written, charged = True, 0, 0

        def write(self, frames: bytes) -> None:
            self.written += len(frames)

        def charge(self, messages: int) -> None:
            self.charged += messages

        def end_with(self, error) -> None:
            raise error

    line = Line()
    origin = rooms.Origin(UUID(int=1), UUID(int=2), "text", 1, 5)
    room = rooms.Room(origin, Replica(), 0, *(lambda _room: None,) * 3)
    member = Member(line, room, Guest(UUID(int=3), "Ada", edits=False))
    member.enter()
    room.presence.take(member, {"id": "a"}, [Entry(1, 1, b"{}")])
    before = line.written
    member.receive(b"\x03")
    assert line.written == before
    line.full = False
    member.receive(b"\x03")
    assert line.written > before


async def test_a_huge_state_vector_is_refused(desk, people, ada, workspace) -> None:
    document = await people.document(ada, workspace, "hello", **TEXT)
    peer = await desk.open(ada, document["id"])
    peer.say(wire.state_vector_message(wire.uint(1_000_000) + b"\x01" * 2_000_000))
    assert await peer.until_closed() == 4413


class Author:
    """Hears what becomes of an update."""

    def __init__(self, user_id) -> None:
        self.user_id = user_id
        self.heard: list[str] = []
        self.may_write = True

    def written(self) -> None:
        self.heard.append("written")

    def refused(self, error) -> None:
        self.heard.append(error.code)

    def incomplete(self, state_vector: bytes) -> None:
        self.heard.append("incomplete")


async def test_what_waits_to_be_saved_is_bounded(desk, people, ada, workspace, own, monkeypatch) -> None:
    document = await people.document(ada, workspace, "", **TEXT)
    peer = await desk.open(ada, document["id"])
    room = own.hall.rooms[UUID(document["id"])]
    monkeypatch.setattr(rooms, "MAX_WAITING_BYTES", 1_000)
    author = Author(ada.id)
    [update] = made(peer.doc.get_update(), 9, "x" * 400)
    for _ in range(5):
        room.submit(update, author)
    assert author.heard == ["log_unavailable"] * 3
    async with asyncio.timeout(2):
        while author.heard.count("written") < 2:
            await asyncio.sleep(0.01)
    room.submit(update, author)
    await asyncio.sleep(0.05)
    assert author.heard.count("written") == 3


async def test_a_server_that_refuses_a_statement_ends_no_process(
    desk, people, ada, workspace, own, monkeypatch
) -> None:
    document = await people.document(ada, workspace, "", **TEXT)
    first, second = await desk.open(ada, document["id"]), await desk.open(ada, document["id"])
    connected, failures = own.log._connected, []

    async def standby():
        if len(failures) < 3:
            failures.append(1)
            raise pg.ReadOnlySqlTransaction("cannot execute UPDATE in a read-only transaction")
        return await connected()

    monkeypatch.setattr(own.log, "_connected", standby)
    first.text.insert(0, "kept")
    await second.until_says("kept")
    assert len(failures) == 3


async def test_one_broken_room_takes_no_other_with_it(desk, people, ada, workspace, own, monkeypatch) -> None:
    broken, sound = [await people.document(ada, workspace, "", **TEXT) for _ in range(2)]
    bad, good, other = [await desk.open(ada, one["id"]) for one in (broken, sound, sound)]
    room = own.hall.rooms[UUID(broken["id"])]

    def fail(*_arguments):
        raise RuntimeError("a bug")

    monkeypatch.setattr(room, "_apply", fail)
    bad.text.insert(0, "x")
    assert await bad.until_closed() == 4500
    good.text.insert(0, "fine")
    await other.until_says("fine")
    again = await desk.open(ada, broken["id"], doc=bad.doc)
    await again.until_says("x")


async def test_what_waits_for_another_process_is_looked_for_again(
    desk, people, ada, workspace, own, monkeypatch
) -> None:
    document = await people.document(ada, workspace, "", **TEXT)
    peer = await desk.open(ada, document["id"])
    since, asked = own.log.since, []

    async def away(*arguments):
        asked.append(1)
        if len(asked) == 1:
            raise DatabaseUnavailableError
        return await since(*arguments)

    monkeypatch.setattr(own.log, "since", away)
    author = Author(ada.id)
    _, lacking = made(peer.doc.get_update(), 9, "a", "b")
    own.hall.rooms[UUID(document["id"])].submit(lacking, author)
    async with asyncio.timeout(5):
        while author.heard != ["incomplete"]:
            await asyncio.sleep(0.05)


def test_an_empty_key_is_none(environment, monkeypatch) -> None:
    monkeypatch.setenv("COLLAB_TICKET_KEYS", environment["COLLAB_TICKET_KEYS"] + ",")
    with pytest.raises(ValueError, match="at least 32"):
        Settings()


def test_presence_that_is_nested_too_deep_is_a_bad_frame() -> None:
    with pytest.raises(FrameInvalidError):
        signed(b'{"a":' * 300 + b"1" + b"}" * 300, {"id": "x"})


class UndoneError(Exception):
    """Ends a transaction that is to leave nothing."""


async def test_documents_that_cannot_be_exported_do_not_hide_others(people, ada, workspace, desk, own) -> None:
    documents = [await people.document(ada, workspace, "", **TEXT) for _ in range(3)]
    ids = [UUID(document["id"]) for document in documents]
    for document in documents:
        await desk.open(ada, document["id"])
    with pytest.raises(UndoneError):
        async with own.log._database.transaction() as transaction:
            for id_, ago in zip(ids, (1, 3600, 60), strict=True):
                await transaction.execute(
                    "UPDATE collab.document SET head_seq = exported_seq + 1, changed_at = now() - interval '1 day', "
                    "lease = id, leased_until = now() - make_interval(secs => %(ago)s) WHERE id = %(id)s",
                    {"id": id_, "ago": ago},
                )
            found = await LiveRepository(transaction).unexported(15.0, 10_000)
            raise UndoneError
    assert [id_ for id_ in found if id_ in ids] == [ids[1], ids[2], ids[0]], "who was tried last comes last"
