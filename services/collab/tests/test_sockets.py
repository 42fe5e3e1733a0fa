"""Two clients, one document: over real sockets, against the real database."""

import asyncio

import pytest
from pycrdt import Doc, Text

from collab.domain import wire
from collab.errors import FORBIDDEN, GONE, TICKET_EXPIRED
from common.identifiers import uuid7

KIND = {"kind": "text"}


async def test_two_clients_write_the_same_text(desk, people, ada, workspace) -> None:
    bob = await people.person("Bob")
    await people.join(workspace, bob, "editor")
    document = await people.document(ada, workspace, "hello\n", **KIND)
    first, second = await desk.open(ada, document["id"]), await desk.open(bob, document["id"])
    assert str(first.text) == str(second.text) == "hello\n"
    first.text.insert(0, "A: ")
    await second.until_says("A: hello\n")
    second.text.insert(len(second.text), "B: hi\n")
    await first.until_says("A: hello\nB: hi\n")


async def test_what_others_have_seen_is_in_the_log(desk, people, ada, workspace, fleet) -> None:
    document = await people.document(ada, workspace, "", **KIND)
    first, second = await desk.open(ada, document["id"]), await desk.open(ada, document["id"])
    log = fleet["collab"].app.state.resources.log
    for n in range(30):
        first.text.insert(len(first.text), f"{n} ")
        await second.until(lambda n=n: f"{n} " in str(second.text))
        _, updates = await log.updates(document["id"], 1)
        stored: Doc = Doc()
        for update in updates:
            stored.apply_update(update)
        assert str(stored.get("content", type=Text)) == str(second.text)


async def test_a_viewer_sees_and_does_not_write(desk, people, ada, workspace) -> None:
    vic = await people.person("Vic")
    await people.join(workspace, vic, "viewer")
    document = await people.document(ada, workspace, "hello", **KIND)
    writer, viewer = await desk.open(ada, document["id"]), await desk.open(vic, document["id"])
    viewer.text.insert(0, "no ")
    await viewer.until(lambda: viewer.messages(wire.Kind.AUTH))
    writer.text.insert(0, "yes ")
    await viewer.until(lambda: "yes" in str(viewer.text))
    await asyncio.sleep(0.1)
    assert str(writer.text) == "yes hello"
    assert len(viewer.messages(wire.Kind.AUTH)) == 1


async def test_strangers_and_bad_tickets_stay_outside(desk, people, ada, workspace) -> None:
    eve = await people.person("Eve")
    document = await people.document(ada, workspace, "secret", **KIND)
    other = await people.document(ada, workspace, "other", **KIND)
    answer = await eve.http.post(f"/v1/collab/documents/{document['id']}/ticket")
    assert (answer.status_code, answer.json()["code"]) == (404, "document_not_found")
    ticket = await desk.ticket(ada, document["id"])
    for name, query, code in (
        (document["id"], {}, TICKET_EXPIRED),
        (document["id"], {"ticket": "x" * 200}, TICKET_EXPIRED),
        (document["id"], {"ticket": ticket[:-2] + "AA"}, TICKET_EXPIRED),
        (other["id"], {"ticket": ticket}, FORBIDDEN),
        (str(uuid7()), {"ticket": ticket}, FORBIDDEN),
        ("nonsense", {"ticket": ticket}, GONE),
    ):
        peer = await desk.connect(name, query)
        assert await peer.until_closed() == code, (name, query)
        assert not peer.frames


async def test_a_ticket_in_a_url_is_good_for_a_minute_and_as_subprotocol_for_an_hour(
    desk, people, ada, workspace, monkeypatch
) -> None:
    document = await people.document(ada, workspace, "hello", **KIND)
    ticket = await desk.ticket(ada, document["id"])
    now = __import__("time").time()
    monkeypatch.setattr("collab.service.door.time.time", lambda: now + 70)
    late = await desk.connect(document["id"], {"ticket": ticket})
    assert await late.until_closed() == TICKET_EXPIRED
    spoken = await desk.connect(document["id"], {}, protocols=("mdcreator", ticket))
    assert spoken.socket.protocol == "mdcreator"
    spoken.greet()
    await spoken.until_says("hello")
    monkeypatch.setattr("collab.service.door.time.time", lambda: now + 3700)
    late = await desk.connect(document["id"], {}, protocols=(ticket,))
    assert await late.until_closed() == TICKET_EXPIRED


async def test_the_other_kind_of_editor_is_told(desk, people, ada, workspace) -> None:
    document = await people.document(ada, workspace, "hello", **KIND)
    ticket = await desk.ticket(ada, document["id"])
    peer = await desk.connect(document["id"], {"ticket": ticket, "kind": "prosemirror"})
    assert await peer.until_closed() == 4400


@pytest.mark.parametrize(
    "frame", [b"", b"\x09", b"\x00\x05\x00", b"\x00\x02\x03abc", b"\x01\x02\xff\xff", b"\x00\x02\x01"]
)
async def test_09_junk_ends_its_sender_and_nobody_else(desk, people, ada, workspace, frame) -> None:
    document = await people.document(ada, workspace, "hello", **KIND)
    good, bad = await desk.open(ada, document["id"]), await desk.open(ada, document["id"])
    bad.say(frame)
    assert await bad.until_closed() == 4400
    good.text.insert(0, "still ")
    await (await desk.open(ada, document["id"])).until_says("still hello")


async def test_tickets_reach_no_log(desk, people, ada, workspace, caplog) -> None:
    document = await people.document(ada, workspace, "hello", **KIND)
    ticket = await desk.ticket(ada, document["id"])
    with caplog.at_level("DEBUG"):
        peer = await desk.connect(document["id"], {"ticket": ticket})
        peer.greet()
        await peer.until_says("hello")
        late = await desk.connect(document["id"], {"ticket": ticket[:-2] + "AA"})
        await late.until_closed()
    assert not [record for record in caplog.records if ticket[:20] in record.getMessage()]
