"""Rooms against broken servers, other processes, slow readers and revocations."""

import asyncio
import time
from uuid import UUID

import aiohttp
import psycopg
import pytest
import pytest_asyncio
from peers import Desk, Peer
from pycrdt import Doc, Text

from collab.domain import wire
from collab.domain.presence import Entry, write_entries
from collab.errors import FORBIDDEN, REVOKED, DocumentNotFoundError, StateDamagedError
from collab.rooms import hall as halls
from common.testing.fleet import Fleet

TEXT = {"kind": "text"}


@pytest.fixture
def own(fleet):
    return fleet["collab"].app.state.resources


@pytest_asyncio.fixture
async def second(fleet, environment, monkeypatch):
    """Another collab process of the same fleet, as far as rooms can tell."""
    from deploy.local.machine import free_ports

    port, internal = free_ports(2)
    monkeypatch.setenv("COLLAB_PORT", str(port))
    monkeypatch.setenv("COLLAB_INTERNAL_PORT", str(internal))
    async with Fleet.running("collab") as other:
        yield other


@pytest_asyncio.fixture
async def elsewhere(second, fleet):
    """A desk at the other process."""
    async with Desk.opened(second) as desk:
        yield desk


async def stored(own, document) -> str:
    _, updates = await own.log.updates(UUID(document["id"]), 1)
    doc: Doc = Doc()
    for update in updates:
        doc.apply_update(update)
    return str(doc.get("content", type=Text))


async def test_11_two_processes_show_the_same(desk, elsewhere, people, ada, workspace) -> None:
    document = await people.document(ada, workspace, "", **TEXT)
    here, there = await desk.open(ada, document["id"]), await elsewhere.open(ada, document["id"])
    for n in range(20):
        here.text.insert(len(here.text), f"h{n} ")
        there.text.insert(len(there.text), f"t{n} ")
        await asyncio.sleep(0.005)
    await here.until(lambda: "t19" in str(here.text))
    await there.until(lambda: "h19" in str(there.text))
    await here.until(lambda: str(here.text) == str(there.text))


@pytest.mark.parametrize("fault", ["lost", "reordered", "twice"])
async def test_11_what_redis_loses_reorders_or_repeats(
    desk, elsewhere, people, ada, workspace, own, monkeypatch, fault
) -> None:
    document = await people.document(ada, workspace, "", **TEXT)
    here, there = await desk.open(ada, document["id"]), await elsewhere.open(ada, document["id"])
    fanout = own.hall._fanout
    say, kept = fanout._say, []

    def broken(*message):
        if fault == "lost":
            return
        kept.append(message)
        if fault == "twice":
            say(*message)
            say(*message)
        elif len(kept) == 5:
            for one in reversed(kept):
                say(*one)
            kept.clear()

    monkeypatch.setattr(fanout, "_say", broken)
    for n in range(10):
        here.text.insert(len(here.text), f"{n},")
        await asyncio.sleep(0.02)
    await there.until_says("0,1,2,3,4,5,6,7,8,9,")


async def test_11_edits_cross_while_redis_is_away(desk, elsewhere, people, ada, workspace, backing) -> None:
    document = await people.document(ada, workspace, "", **TEXT)
    here, there = await desk.open(ada, document["id"]), await elsewhere.open(ada, document["id"])
    await asyncio.to_thread(backing["redis"].kill)
    try:
        here.text.insert(0, "without redis")
        await there.until_says("without redis", 10)
    finally:
        await asyncio.to_thread(backing["redis"].start)
    there.text.insert(0, "and with: ")
    await here.until_says("and with: without redis", 10)


async def test_12_what_is_written_while_a_room_opens_is_in_it(
    desk, elsewhere, people, ada, workspace, own, second, monkeypatch
) -> None:
    document = await people.document(ada, workspace, "", **TEXT)
    here = await desk.open(ada, document["id"])
    hall = second["collab"].app.state.resources.hall
    load = hall._load

    async def slow(document_id):
        opened = await load(document_id)
        here.text.insert(0, "meanwhile")
        await asyncio.sleep(0.3)
        return opened

    monkeypatch.setattr(hall, "_load", slow)
    with monkeypatch.context() as patched:
        patched.setattr(halls, "LOOK_SECONDS", 1000.0)
        there = await elsewhere.open(ada, document["id"])
        await there.until_says("meanwhile", 1.0)
    own.hall.reconnected()  # or it would wait so long, and tests that come later for it


async def test_13_postgres_away_for_a_moment_loses_nothing(
    desk, people, ada, workspace, backing, own, environment
) -> None:
    document = await people.document(ada, workspace, "", **TEXT)
    first, second = await desk.open(ada, document["id"]), await desk.open(ada, document["id"])
    first.text.insert(0, "before ")
    await second.until_says("before ")
    with psycopg.connect(environment["MDC_ADMIN_DATABASE_URL"], autocommit=True) as admin:
        admin.execute("CHECKPOINT")  # test servers do not wait for the disk
    await asyncio.to_thread(backing["postgres"].kill)
    first.text.insert(len(first.text), "during ")
    await asyncio.sleep(0.3)
    assert str(second.text) == "before ", "nobody sees what is not durable"
    await asyncio.to_thread(backing["postgres"].start)
    await second.until_says("before during ", 15)
    assert await stored(own, document) == "before during "


async def test_15_what_cannot_be_read_is_not_an_empty_document(desk, people, ada, workspace, own, environment) -> None:
    document = await people.document(ada, workspace, "precious", **TEXT)
    peer = await desk.open(ada, document["id"])
    peer.text.insert(0, "very ")
    await desk.open(ada, document["id"])
    await peer.leave()
    own.hall.close(own.hall.rooms[UUID(document["id"])], StateDamagedError())
    async with own.log._database.transaction() as transaction:
        await transaction.execute(
            "UPDATE collab.state SET state = '\\x00' WHERE document_id = %(id)s", {"id": document["id"]}
        )
    broken = await desk.connect(document["id"], {"ticket": await desk.ticket(ada, document["id"])})
    assert await broken.until_closed() >= 4500
    assert not broken.frames
    assert (await ada.http.get(f"/v1/documents/{document['id']}/content")).text in ("precious", "very precious")


async def test_17_twenty_at_once_seed_once(desk, elsewhere, people, ada, workspace) -> None:
    document = await people.document(ada, workspace, "hello\n", **TEXT)
    opened = await asyncio.gather(
        *(place.open(ada, document["id"]) for _ in range(10) for place in (desk, elsewhere))
    )  # fmt: skip
    for peer in opened:
        assert str(peer.text) == "hello\n"


async def test_17_twenty_processes_seed_once(people, ada, workspace, own) -> None:
    document = await people.document(ada, workspace, "hello\n", **TEXT)
    load = own.hall._load
    opened = await asyncio.gather(*(load(UUID(document["id"])) for _ in range(20)))
    assert len({one.origin.seed_client for one in opened}) == 1
    assert {tuple(one.updates) for one in opened} == {tuple(opened[0].updates)}
    text: Doc = Doc()
    for one in opened:
        for update in one.updates:
            text.apply_update(update)
    assert str(text.get("content", type=Text)) == "hello\n"


async def test_18_a_client_that_was_there_before_a_restart_goes_on(desk, people, ada, workspace, own) -> None:
    document = await people.document(ada, workspace, "hello", **TEXT)
    peer = await desk.open(ada, document["id"])
    peer.text.insert(0, "A")
    await asyncio.sleep(0.1)
    await peer.leave()
    own.hall.close(own.hall.rooms[UUID(document["id"])], StateDamagedError())
    peer.doc.get("content", type=Text).insert(0, "B")
    again = await desk.open(ada, document["id"], doc=peer.doc)
    other = await desk.open(ada, document["id"])
    await other.until_says("BAhello")
    assert str(again.text) == "BAhello"


async def test_19_a_copy_of_another_life_is_refused(desk, people, ada, workspace, own) -> None:
    document = await people.document(ada, workspace, "hello", **TEXT)
    peer = await desk.open(ada, document["id"])
    stale: Doc = Doc()
    for client in (11, 12):
        typed: Doc = Doc(client_id=client)
        typed.get("content", type=Text).insert(0, "other life ")
        stale.apply_update(typed.get_update())
    other = await desk.connect(document["id"], {"ticket": await desk.ticket(ada, document["id"])}, doc=stale)
    other.greet()
    assert await other.until_closed() == 4409
    assert str(peer.text) == "hello"
    honest: Doc = Doc(client_id=13)
    honest.get("content", type=Text).insert(0, "typed first ")
    await desk.open(ada, document["id"], doc=honest)
    await peer.until(lambda: "typed first" in str(peer.text))


async def test_20_the_same_update_twice_changes_nothing(people, ada, workspace, own) -> None:
    document = await people.document(ada, workspace, "hello", **TEXT)
    url = f"/v1/collab/documents/{document['id']}"
    doc: Doc = Doc()
    answer = await ada.http.get(f"{url}/state")
    assert answer.status_code == 200, answer.text
    doc.apply_update(answer.content)
    before = doc.get_state()
    doc.get("content", type=Text).insert(0, "script: ")
    update = doc.get_update(before)
    answers = [await ada.http.post(f"{url}/updates", content=update) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert len({answer.json()["seq"] for answer in answers}) == 1
    assert await stored(own, document) == "script: hello"


async def test_26_a_lowered_right_ends_writing_within_a_second(desk, people, ada, workspace, own) -> None:
    bob = await people.person("Bob")
    await people.join(workspace, bob, "editor")
    document = await people.document(ada, workspace, "", **TEXT)
    first, second = await desk.open(ada, document["id"]), await desk.open(bob, document["id"])
    second.text.insert(0, "b")
    await first.until_says("b")
    members = f"/v1/workspaces/{workspace}/members/{bob.id}"
    answer = await ada.http.patch(members, json={"role": "viewer"})
    assert answer.status_code == 200, answer.text
    begun = time.monotonic()
    async with asyncio.timeout(1.0):
        while not second.messages(wire.Kind.AUTH):
            second.text.insert(0, "x")
            await asyncio.sleep(0.02)
    assert time.monotonic() - begun < 1.0
    seen = str(first.text)
    second.text.insert(0, "y")
    await asyncio.sleep(0.2)
    assert str(first.text) == seen
    answer = await ada.http.delete(members)
    assert answer.status_code in (200, 204), answer.text
    assert await second.until_closed(1.0) == FORBIDDEN


async def test_26_an_ended_session_ends_its_sockets(desk, people, ada, workspace) -> None:
    document = await people.document(ada, workspace, "", **TEXT)
    other = await people.sign_in(ada)
    peer = await desk.open(other, document["id"])
    answer = await ada.http.delete(f"/v1/auth/sessions/{other.session_id}")
    assert answer.status_code in (200, 204), answer.text
    assert await peer.until_closed(1.0) == REVOKED


async def test_28_a_slow_reader_delays_nobody_and_is_told_the_rest(desk, people, ada, workspace, fleet, own) -> None:
    document = await people.document(ada, workspace, "", **TEXT)
    writer, reader = await desk.open(ada, document["id"]), await desk.open(ada, document["id"])
    ticket = await desk.ticket(ada, document["id"])
    url = fleet["collab"].url + f"/v1/collab/ws/{document['id']}"
    async with aiohttp.ClientSession() as session:
        socket = await session.ws_connect(url, params={"ticket": ticket}, max_msg_size=0)
        await socket.send_bytes(wire.state_vector_message(b"\x00"))
        slow = socket._response.connection.transport
        slow.pause_reading()
        room = own.hall.rooms[UUID(document["id"])]
        chunk = "x" * 200_000
        for n in range(60):
            writer.text.insert(0, f"{n}{chunk}")
            await asyncio.sleep(0)
            if n % 10 == 9:
                del writer.text[0 : len(writer.text) - 10]
            await asyncio.sleep(0.03)
        await reader.until(lambda: str(reader.text) == str(writer.text), 20)
        assert room.audience.lagging, "somebody is behind"
        slow.resume_reading()
        late = Peer(socket)
        await late.until(lambda: str(late.text) == str(writer.text), 20)
        await late.leave()


async def test_28_who_never_reads_has_to_come_again(desk, people, ada, workspace, fleet, own, monkeypatch) -> None:
    document = await people.document(ada, workspace, "", **TEXT)
    writer = await desk.open(ada, document["id"])
    peer = await desk.open(ada, document["id"])
    room = own.hall.rooms[UUID(document["id"])]
    member = next(one for one in room.audience.members if one is not room.audience.members[0])
    room.audience.lagging[member] = (b"\x00", time.monotonic() - 11)
    monkeypatch.setattr(type(member), "behind", property(lambda self: True))
    closed = {await one.until_closed() for one in (writer, peer) if one.closed} | set()
    async with asyncio.timeout(5):
        while not (writer.closed or peer.closed):
            await asyncio.sleep(0.05)
    closed |= {one.closed.code for one in (writer, peer) if one.closed}
    assert closed == {4500}


async def test_29_an_idle_client_hears_something_every_20_seconds(
    desk, people, ada, workspace, own, monkeypatch
) -> None:
    document = await people.document(ada, workspace, "", **TEXT)
    peer = await desk.open(ada, document["id"])
    before = len(peer.messages(wire.Kind.AWARENESS))
    own.hall._beat_at = time.monotonic() - halls.BEAT_SECONDS
    await peer.until(lambda: len(peer.messages(wire.Kind.AWARENESS)) > before, 3)
    for frame in peer.frames:
        wire.read_message(frame)  # one message a frame, or it raises


async def test_30_presence_is_told_to_joiners_and_taken_back(desk, elsewhere, people, ada, workspace) -> None:
    document = await people.document(ada, workspace, "", **TEXT)
    first = await desk.open(ada, document["id"])
    first.say(wire.awareness_message(write_entries([Entry(first.doc.client_id, 1, b'{"cursor":1}')])))
    await asyncio.sleep(0.15)
    second, third = await desk.open(ada, document["id"]), await elsewhere.open(ada, document["id"])
    for peer in (second, third):
        await peer.until(lambda peer=peer: any(b'"cursor":1' in one for one in peer.messages(wire.Kind.AWARENESS)))
    people_there = (await ada.http.get(f"/v1/collab/documents/{document['id']}/presence")).json()["people"]
    assert [one["id"] for one in people_there] == [str(ada.id)]
    await first.leave()
    for peer in (second, third):
        await peer.until(lambda peer=peer: any(b"null" in one for one in peer.messages(wire.Kind.AWARENESS)))


async def test_30_nobody_speaks_for_another(desk, people, ada, workspace) -> None:
    bob = await people.person("Bob")
    await people.join(workspace, bob, "editor")
    document = await people.document(ada, workspace, "", **TEXT)
    first, liar = await desk.open(ada, document["id"]), await desk.open(bob, document["id"])
    third = await desk.open(ada, document["id"])
    first.say(wire.awareness_message(write_entries([Entry(77, 1, b'{"mine":1}')])))
    await third.until(lambda: any(b'"mine":1' in one for one in third.messages(wire.Kind.AWARENESS)))
    seen = len(third.frames)
    liar.say(wire.awareness_message(write_entries([Entry(77, 9, b'{"mine":2}'), Entry(77, 10, b"null")])))
    liar.say(wire.awareness_message(write_entries([Entry(78, 1, b'{"user":{"id":"%s"}}' % str(ada.id).encode())])))
    await third.until(lambda: len(third.frames) > seen)
    told = b"".join(third.frames[seen:])
    assert b'"mine":2' not in told
    assert str(bob.id).encode() in told
    assert str(ada.id).encode() not in told


async def test_19_a_new_life_refuses_the_old_one_which_hands_in_a_copy(
    desk, people, ada, workspace, own, fleet
) -> None:
    document = await people.document(ada, workspace, "hello\n", **TEXT)
    id_, peer = UUID(document["id"]), await desk.open(ada, document["id"])
    peer.text.insert(0, "kept ")
    await asyncio.sleep(0.1)
    while not await own.versions.carry(id_):
        await asyncio.sleep(0.02)
    url = fleet["collab"].internal_url + f"/internal/documents/{id_}/lineage"
    assert (await ada.http.post(url)).status_code == 401
    assert await own.opener.begin_anew(id_) == 2
    assert await peer.until_closed() == 4409
    peer.text.insert(0, "unsent ")
    again = await desk.connect(document["id"], {"ticket": await desk.ticket(ada, document["id"])}, doc=peer.doc)
    again.greet()
    assert await again.until_closed() == 4409
    copies = f"/v1/collab/documents/{id_}/copies"
    answers = [await ada.http.post(copies, content=peer.doc.get_update()) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200], answers[0].text
    [copy] = {answer.json()["document_id"] for answer in answers}
    assert (await ada.http.get(f"/v1/documents/{copy}/content")).text == "unsent kept hello\n"
    fresh = await desk.open(ada, document["id"])
    assert str(fresh.text) == "kept hello\n"
    fresh.text.insert(0, "new ")
    await asyncio.sleep(0.1)
    while not await own.versions.carry(id_):
        await asyncio.sleep(0.02)
    assert (await ada.http.get(f"/v1/documents/{id_}/content")).text == "new kept hello\n"


async def test_a_document_that_is_deleted_for_good_leaves_nothing_behind(
    desk, people, ada, workspace, environment
) -> None:
    document = await people.document(ada, workspace, "hello", **TEXT)
    peer = await desk.open(ada, document["id"])
    peer.text.insert(0, "typed ")
    path = f"/v1/documents/{document['id']}"
    assert (await ada.http.delete(path)).status_code == 204
    assert (await ada.http.delete(path, params={"permanent": "true"})).status_code == 204
    await peer.until_closed()
    async with await psycopg.AsyncConnection.connect(environment["COLLAB_OWNER_DATABASE_URL"]) as connection:
        async with asyncio.timeout(10):
            for table, column in (("document", "id"), ("update_log", "document_id"), ("state", "document_id")):
                query = f"SELECT count(*) FROM collab.{table} WHERE {column} = %s"
                while await (await connection.execute(query, (document["id"],))).fetchone() != (0,):
                    await connection.commit()
                    await asyncio.sleep(0.05)


async def test_a_document_that_is_deleted_for_good_while_it_is_opened_is_not_live(
    desk, people, ada, workspace, own, monkeypatch
) -> None:
    document = await people.document(ada, workspace, "hello", **TEXT)
    path, run = f"/v1/documents/{document['id']}", own.opener._workshop.run

    async def slow(*task):
        seeded = await run(*task)
        assert (await ada.http.delete(path)).status_code == 204
        assert (await ada.http.delete(path, params={"permanent": "true"})).status_code == 204
        await asyncio.sleep(0.5)  # collab is told before there is anything to delete
        return seeded

    monkeypatch.setattr(own.opener._workshop, "run", slow)
    with pytest.raises(DocumentNotFoundError):
        await own.opener.open(UUID(document["id"]))
    assert (await ada.http.post(f"/v1/collab/documents/{document['id']}/ticket")).status_code == 404
