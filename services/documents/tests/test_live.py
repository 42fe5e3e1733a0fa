"""What live rooms get of their documents: heads, versions in order, exports that are never merged, holds."""

import asyncio
import hashlib
import time
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid4

import httpx
import orjson
import psycopg
import pytest
import pytest_asyncio
from psycopg import errors as pg

from common.auth import ServiceIdentity
from common.identifiers import uuid7
from common.objects import ObjectStoreUnavailableError
from common.testing.checks import problem
from common.testing.writing import edit, save, text, versions

LINES = "".join(f"paragraph {n} stands here\n\n" for n in range(60))
TEXTS = {
    "small": "word\n",
    "empty": "",
    "CRLF, BOM, no end": "\ufeffone\r\ntwo\n\rthree\u2028 end",
    "over 16 KiB": "ünï " * 5_000,
    "over 1 MiB": "".join(f"line {n} of many\r\n" for n in range(90_000)),
}
SECOND = 1.0


@dataclass
class Room:
    """The service of live rooms, as it asks documents."""

    url: str
    identity: ServiceIdentity
    http: httpx.AsyncClient

    async def call(self, method: str, path: str, body: Any = None, **more: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.identity.assertion('documents', None)}", **more.pop("headers", {})}
        content = None if body is None else orjson.dumps(body)
        return await self.http.request(method, f"{self.url}/internal/documents/{path}", content=content,
                                       headers={**headers, "Content-Type": "application/json"}, **more)  # fmt: skip

    async def ok(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        answer = await self.call(method, path, body, **more)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def head(self, document, known=None):
        return await self.ok("GET", f"{document['id']}/head", params={} if known is None else {"known": known})

    async def versions(self, document, **params):
        return (await self.ok("GET", f"{document['id']}/versions", params=params))["versions"]

    async def text(self, document, n):
        return (await self.ok("GET", f"{document['id']}/versions/{n}/text"))["content"]

    async def export(self, document, base, content, author, *others, seq, lineage=1):
        return await self.ok("POST", f"{document['id']}/export", exported(base, content, author, *others, seq=seq,
                                                                         lineage=lineage))  # fmt: skip

    async def hold(self, document, seconds=SECOND):
        return await self.ok("POST", f"{document['id']}/hold", {"seconds": seconds})


def exported(base, content, author, *others, seq, lineage=1):
    return {
        "base": base, "lineage": lineage, "seq": seq, "content": content,
        "content_hash": hashlib.sha256(content.encode()).hexdigest(),
        "author_id": str(author.id), "contributors": [str(one.id) for one in others],
    }  # fmt: skip


@pytest_asyncio.fixture
async def caller(fleet, environment):
    """Makes rooms, and other services."""
    async with httpx.AsyncClient(timeout=30) as http:
        keys = orjson.loads(environment["MDC_SERVICE_PUBLIC_KEYS"])

        def named(service):
            key = environment[f"{service.upper().replace('-', '_')}_SERVICE_KEY"]
            return Room(fleet["documents"].internal_url, ServiceIdentity(service, key, keys), http)

        yield named


@pytest.fixture
def room(caller):
    return caller("collab")


@pytest.fixture
async def team(people):
    """Ada's workspace with Bob as an editor."""
    ada, bob = await people.person("Ada"), await people.person("Bob")
    workspace = await people.workspace(ada)
    await people.join(workspace, bob, "editor")
    return ada, bob, workspace


@pytest.fixture
async def told(as_owner_role):
    """Events about a document, in order."""

    async def of(document):
        rows = await as_owner_role.execute(
            "SELECT type, aggregate_version, data, headers FROM documents.event WHERE aggregate_id = %s "
            "ORDER BY aggregate_version",
            (document["id"],),
        )
        return await rows.fetchall()

    return of


def numbers(listed):
    return [one["n"] for one in listed]


# Heads, versions, texts


async def test_a_head_says_what_is_there_and_its_text_only_to_who_lacks_it(people, team, room):
    ada, _, workspace = team
    document = await people.document(ada, workspace, "one\n", title="Plan", kind="text")
    head = await room.head(document)
    assert head == {
        "id": document["id"], "workspace_id": workspace, "access_root_id": workspace, "kind": "text", "version": 1,
        "content_version": 1, "content_hash": document["content_hash"], "size": 4, "trashed": False, "title": "Plan",
        "content": "one\n",
    }  # fmt: skip
    assert await room.head(document, known=1) == {**head, "content": None}
    renamed = {"title": "Plans"}
    await ada.http.patch(f"/v1/documents/{document['id']}", json=renamed, headers={"If-Match": '"v1"'})
    assert await room.head(document, known=1) == {**head, "content": None, "version": 2, "title": "Plans"}
    await save(ada, document["id"], 2, "two\n")
    assert (await room.head(document, known=1))["content"] == "two\n"
    await ada.http.delete(f"/v1/documents/{document['id']}")
    trashed = await room.head(document)
    assert (trashed["trashed"], trashed["version"], trashed["content"]) == (True, 4, "two\n")


async def test_the_kind_of_a_document_stays_what_it_was_made(people, team, room):
    ada, _, workspace = team
    document = await people.document(ada, workspace, "one\n", kind="text")
    assert document["kind"] == "text"
    path = f"/v1/documents/{document['id']}"
    refused = await ada.http.patch(path, json={"kind": "prosemirror"}, headers={"If-Match": '"v1"'})
    problem(refused, 422, "validation_error")
    copy = (await ada.http.post(f"{path}/duplicate", json={})).json()
    assert [(await room.head(one))["kind"] for one in (document, copy)] == ["text", "text"]
    assert (await room.head(await people.document(ada, workspace, "one\n")))["kind"] == "prosemirror"


async def test_a_head_names_the_version_its_access_root_is_of(people, team, room, fleet):
    ada, _, workspace = team
    document = await people.document(ada, workspace, "one\n")
    restricted = await ada.http.put(f"/v1/documents/{document['id']}/access", json={"restricted": True})
    assert restricted.status_code == 200
    head = await room.head(document)
    assert head["access_root_id"] == document["id"]
    folder = await people.folder(ada, workspace)
    below = await people.document(ada, workspace, "two\n", folder_id=folder["id"])
    await ada.http.put(f"/v1/folders/{folder['id']}/access", json={"restricted": True})
    head = await room.head(below)
    revoked = fleet["documents"].app.state.platform.revocations.nodes
    assert head["access_root_id"] == folder["id"]
    assert head["version"] >= revoked[UUID(below["id"])] > 1, "a copy as of this version is new enough"


async def test_versions_come_in_order_each_with_the_one_before_it(people, team, room):
    ada, bob, workspace = team
    document = await people.document(ada, workspace, LINES)
    await ada.http.patch(f"/v1/documents/{document['id']}", json={"title": "New"}, headers={"If-Match": '"v1"'})
    second = LINES.replace("paragraph 3 ", "paragraph three ")
    await save(ada, document["id"], 1, second)
    await save(bob, document["id"], 1, LINES.replace("paragraph 50 ", "paragraph fifty "))
    await room.export(document, 4, "room\n", bob, ada, seq=7)
    listed = await room.versions(document)
    assert [(one["n"], one["previous"], one["origin"]) for one in listed] == [
        (1, None, "create"), (3, 1, "save"), (4, 3, "save"), (5, 4, "live"),
    ]  # fmt: skip
    assert [(one["lineage"], one["seq"]) for one in listed] == [(None, None)] * 3 + [(1, 7)]
    assert listed[3]["author_id"] == str(bob.id)
    assert listed[3]["contributors"] == [str(bob.id), str(ada.id)]
    assert set(listed[2]["contributors"]) == {str(ada.id), str(bob.id)}
    assert listed[3]["content_hash"] == hashlib.sha256(b"room\n").hexdigest()
    assert listed[3]["size"] == 5
    assert numbers(await room.versions(document, after=1)) == [3, 4, 5]
    assert numbers(await room.versions(document, after=1, limit=2)) == [3, 4]
    assert numbers(await room.versions(document, after=5)) == []
    assert await room.text(document, 3) == second
    answer = await room.call("GET", f"{document['id']}/versions", params={"after": 5})
    assert answer.json() == {"content_version": 5, "versions": []}
    problem(await room.call("GET", f"{document['id']}/versions/2/text"), 404, "version_not_found")


async def test_what_nobody_has_is_not_found(room):
    nothing, author = str(uuid7()), Nobody()
    for method, path, body in (
        ("GET", "head", None),
        ("GET", "versions", None),
        ("POST", "export", exported(1, "x", author, seq=1)),
        ("POST", "hold", {"seconds": 1}),
    ):
        problem(await room.call(method, f"{nothing}/{path}", body), 404, "document_not_found")
    problem(await room.call("GET", f"{nothing}/versions/1/text"), 404, "version_not_found")


class Nobody:
    id = uuid7()


# Exports


async def test_an_export_is_the_next_version_by_all_who_wrote_it(people, team, room, told):
    ada, bob, workspace = team
    document = await people.document(ada, workspace, "one\n")
    answer = await room.export(document, 1, "two\n", bob, ada, bob, seq=12, lineage=3)
    assert answer == {"saved": True, "version": 2, "content_version": 2}
    head = (await ada.http.get(f"/v1/documents/{document['id']}?include=content")).json()
    assert (head["content"], head["version"], head["updated_by"]) == ("two\n", 2, str(bob.id))
    newest = (await versions(ada, document["id"]))[0]
    assert (newest["origin"], newest["base_version"], newest["merged"]) == ("live", 1, False)
    assert (newest["author_id"], newest["contributors"]) == (str(bob.id), [str(bob.id), str(ada.id)])
    event = (await told(document))[-1]
    assert event["type"] == "documents.document.updated.v1"
    data = event["data"]
    assert {name: data[name] for name in ("origin", "lineage", "seq", "previous_content_version", "merged")} == {
        "origin": "live", "lineage": 3, "seq": 12, "previous_content_version": 1, "merged": False,
    }  # fmt: skip
    assert (data["version"], data["content_version"], data["content_hash"]) == (2, 2, head["content_hash"])
    assert data["access_root_id"] == workspace
    assert event["headers"]["actor"] == str(bob.id)
    assert (event["headers"]["sessionid"], event["headers"]["clientip"]) == (None, None)
    assert event["headers"]["traceparent"]


@pytest.mark.parametrize("content", TEXTS.values(), ids=TEXTS)
async def test_every_byte_comes_back(people, team, room, content):
    ada, bob, workspace = team
    document = await people.document(ada, workspace, "start")
    assert (await room.export(document, 1, content, bob, seq=1))["saved"]
    assert await text(ada, document["id"]) == content
    assert (await room.head(document))["content"] == content
    assert await room.text(document, 2) == content
    assert (await room.head(document))["size"] == len(content.encode())
    refused = await room.export(document, 1, "other", bob, seq=2)
    assert (refused["saved"], refused["content"]) == (False, content)


async def test_the_same_bytes_make_no_version_and_are_answered_so_for_ever(people, team, room, told):
    ada, bob, workspace = team
    document = await people.document(ada, workspace, "one\n")
    await ada.http.patch(f"/v1/documents/{document['id']}", json={"title": "New"}, headers={"If-Match": '"v1"'})
    same = {"saved": True, "version": 2, "content_version": 1}
    assert await room.export(document, 1, "one\n", bob, seq=5) == same
    assert len(await told(document)) == 2
    await save(ada, document["id"], 2, "two\n")
    assert await room.export(document, 1, "one\n", bob, seq=5) == same
    assert await text(ada, document["id"]) == "two\n"


async def test_a_stale_export_is_never_merged_but_told_what_came_since(people, team, room):
    ada, bob, workspace = team
    document = await people.document(ada, workspace, LINES)
    first, second = LINES.replace("paragraph 3 ", "paragraph three "), LINES.replace("paragraph 9 ", "paragraph nine ")
    await save(ada, document["id"], 1, first)
    await save(bob, document["id"], 1, second)
    refused = await room.export(document, 1, LINES.replace("paragraph 50 ", "paragraph fifty "), bob, seq=1)
    assert set(refused) == {"saved", "content_version", "content", "versions"}
    assert (refused["saved"], refused["content_version"]) == (False, 3)
    assert refused["content"] == await text(ada, document["id"])
    assert refused["versions"] == await room.versions(document, after=1)
    assert [(one["n"], one["previous"]) for one in refused["versions"]] == [(2, 1), (3, 2)]
    assert len(await versions(ada, document["id"])) == 3
    ahead = await room.export(document, 9, "x", bob, seq=1)  # of a version there never was: a restored backup, say
    assert (ahead["saved"], ahead["content_version"], ahead["versions"]) == (False, 3, [])


async def test_only_the_content_version_counts(people, team, room):
    ada, bob, workspace = team
    document = await people.document(ada, workspace, "one\n")
    await ada.http.patch(f"/v1/documents/{document['id']}", json={"title": "New"}, headers={"If-Match": '"v1"'})
    assert await room.export(document, 1, "two\n", bob, seq=1) == {"saved": True, "version": 3, "content_version": 3}


async def test_a_lost_reply_is_given_again_whoever_wrote_since(people, team, room):
    ada, bob, workspace = team
    document = await people.document(ada, workspace, "one\n")
    first = await room.export(document, 1, "two\n", bob, seq=1)
    await save(ada, document["id"], 2, "three\n")
    await room.export(document, 3, "four\n", bob, seq=2)
    await ada.http.delete(f"/v1/documents/{document['id']}")
    assert await room.export(document, 1, "two\n", bob, seq=1) == first
    assert len(await room.versions(document)) == 4
    assert (await room.head(document))["content"] == "four\n"


async def test_of_many_the_same_one_counts_and_all_are_told_the_same(people, team, room):
    ada, bob, workspace = team
    for content in ("two\n", "one\n"):  # the latter is there already
        document = await people.document(ada, workspace, "one\n")
        answers = await asyncio.gather(*(room.export(document, 1, content, bob, seq=1) for _ in range(12)))
        assert {orjson.dumps(answer, option=orjson.OPT_SORT_KEYS) for answer in answers} == {
            orjson.dumps(answers[0], option=orjson.OPT_SORT_KEYS)
        }
        assert answers[0]["saved"]
        assert len(await room.versions(document)) == answers[0]["content_version"]


async def test_one_place_in_the_log_is_one_text(people, team, room):
    ada, bob, workspace = team
    document = await people.document(ada, workspace, "one\n")
    await room.export(document, 1, "two\n", bob, seq=1)
    for base in (1, 2):
        other = exported(base, "other\n", bob, seq=1)
        problem(await room.call("POST", f"{document['id']}/export", other), 409, "export_reused")
    assert await text(ada, document["id"]) == "two\n"
    assert (await room.export(document, 2, "three\n", bob, seq=1, lineage=2))["saved"], "another lineage, another log"


async def test_of_two_texts_for_one_place_at_once_one_is_refused_by_name(people, team, room):
    ada, bob, workspace = team
    for _ in range(6):
        document = await people.document(ada, workspace, "one\n")
        both = await asyncio.gather(
            *(room.call("POST", f"{document['id']}/export", exported(1, one, bob, seq=1)) for one in ("a\n", "b\n"))
        )
        assert sorted(answer.status_code for answer in both) == [200, 409]
        assert len(await room.versions(document)) == 2


async def test_a_place_taken_by_the_same_bytes_meanwhile_is_taken(people, team, room, fleet, monkeypatch):
    """The content version is still the base then: only the place in the log tells."""
    ada, bob, workspace = team
    document = await people.document(ada, workspace, "one\n")
    bodies = fleet["documents"].app.state.resources.bodies
    put = bodies.put

    async def meanwhile(place, body):
        assert (await room.export(document, 1, "one\n", bob, seq=1))["saved"]
        await put(place, body)

    monkeypatch.setattr(bodies, "put", meanwhile)
    large = exported(1, TEXTS["over 16 KiB"], bob, seq=1)
    problem(await room.call("POST", f"{document['id']}/export", large), 409, "export_reused")
    assert (await room.head(document))["version"] == 1, "nothing of it was stored"


async def test_what_is_in_the_trash_takes_its_last_export_and_stays_there(people, team, room):
    ada, bob, workspace = team
    document = await people.document(ada, workspace, "one\n")
    await ada.http.delete(f"/v1/documents/{document['id']}")
    assert await room.export(document, 1, "two\n", bob, seq=1) == {"saved": True, "version": 3, "content_version": 3}
    assert (await room.head(document))["trashed"] is True
    problem(await save(ada, document["id"], 3, "three\n"), 409, "document_trashed")
    await ada.http.post(f"/v1/documents/{document['id']}/restore")
    assert await text(ada, document["id"]) == "two\n"


async def test_what_somebody_wrote_counts_though_they_were_removed_since(people, team, room, told):
    ada, bob, workspace = team
    document = await people.document(ada, workspace, "one\n")
    assert (await ada.http.delete(f"/v1/workspaces/{workspace}/members/{bob.id}")).status_code == 204
    async with asyncio.timeout(10):
        while (await bob.http.get(f"/v1/documents/{document['id']}")).status_code != 404:
            await asyncio.sleep(0.02)
    assert (await room.export(document, 1, "two\n", bob, ada, seq=1))["saved"]
    newest = (await versions(ada, document["id"]))[0]
    assert (newest["author_id"], set(newest["contributors"])) == (str(bob.id), {str(bob.id), str(ada.id)})
    assert (await told(document))[-1]["headers"]["actor"] == str(bob.id)
    assert (await bob.http.get(f"/v1/documents/{document['id']}")).status_code == 404


async def test_only_collab_may_ask(people, team, caller):
    ada, bob, workspace = team
    document = await people.document(ada, workspace, "one\n")
    calls = (
        ("GET", "head", None),
        ("GET", "versions", None),
        ("GET", "versions/1/text", None),
        ("POST", "export", exported(1, "x", bob, seq=1)),
        ("POST", "hold", {"seconds": 1}),
    )
    for service in ("sync", "files", "ai-proxy", "auth-gateway", "documents"):
        for method, path, body in calls:
            answer = await caller(service).call(method, f"{document['id']}/{path}", body)
            if service in ("files", "ai-proxy") and path == "head":  # where a document lies, what it says
                assert answer.status_code == 200
                continue
            problem(answer, 403, "caller_not_allowed")
    for method, path, body in calls:
        token = {"Authorization": f"Bearer {ada.token}"}
        answer = await caller("collab").call(method, f"{document['id']}/{path}", body, headers=token)
        assert answer.status_code == 401
        public = await ada.http.request(method, f"/internal/documents/{document['id']}/{path}", json=body)
        problem(public, 404, "not_found")
    assert await text(ada, document["id"]) == "one\n"


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"content_hash": "0" * 64}, 422, "content_hash_mismatch"),
        ({"content": "nul\0"}, 422, "validation_error"),
        ({"content_hash": "x"}, 422, "validation_error"),
        ({"base": -1}, 422, "validation_error"),
        ({"seq": None}, 422, "validation_error"),
        ({"author_id": "ada"}, 422, "validation_error"),
        ({"content": "x" * (10 * 1024 * 1024 + 1)}, 413, "document_too_large"),
    ],
)
async def test_what_cannot_be_stored_is_refused(people, team, room, change, status, code):
    ada, bob, workspace = team
    document = await people.document(ada, workspace, "one\n")
    body = {**exported(1, "two\n", bob, seq=1), **change}
    problem(await room.call("POST", f"{document['id']}/export", body), status, code)
    assert (await room.head(document))["version"] == 1


async def test_lone_surrogates_and_broken_utf8_are_refused(people, team, room):
    ada, bob, workspace = team
    document = await people.document(ada, workspace, "one\n")
    for bad in (b'"\\ud800"', b'"\xff"'):
        body = orjson.dumps(exported(1, "two\n", bob, seq=1)).replace(b'"two\\n"', bad)
        token = f"Bearer {room.identity.assertion('documents', None)}"
        answer = await room.http.post(
            f"{room.url}/internal/documents/{document['id']}/export",
            content=body,
            headers={"Authorization": token, "Content-Type": "application/json"},
        )
        assert answer.status_code in (400, 422), answer.text
    assert (await room.head(document))["version"] == 1


async def test_without_the_object_store_a_large_export_is_put_off_whole(people, team, room, fleet, monkeypatch, told):
    ada, bob, workspace = team
    document = await people.document(ada, workspace, "one\n")
    bodies = fleet["documents"].app.state.resources.bodies

    async def full(*_):
        raise ObjectStoreUnavailableError

    monkeypatch.setattr(bodies, "put", full)
    large = TEXTS["over 16 KiB"]
    answer = await room.call("POST", f"{document['id']}/export", exported(1, large, bob, seq=1))
    problem(answer, 503, "object_store_unavailable")
    assert ((await room.head(document))["version"], len(await told(document))) == (1, 1)
    assert (await room.export(document, 1, "small\n", bob, seq=1))["saved"]
    monkeypatch.undo()
    assert (await room.export(document, 2, large, bob, seq=2))["saved"]
    assert await text(ada, document["id"]) == large


async def test_a_large_text_follows_a_document_that_moves_meanwhile(people, team, room, fleet, monkeypatch):
    ada, bob, workspace = team
    other = await people.workspace(ada)
    document = await people.document(ada, workspace, "one\n")
    bodies = fleet["documents"].app.state.resources.bodies
    put, places = bodies.put, []

    async def moving(place, body):
        if not places:
            body_ = {"workspace_id": other, "folder_id": None}
            moved = await ada.http.post(f"/v1/documents/{document['id']}/move", json=body_)
            assert moved.status_code == 200, moved.text
        places.append(str(place))
        await put(place, body)

    monkeypatch.setattr(bodies, "put", moving)
    large = TEXTS["over 16 KiB"]
    assert (await room.export(document, 1, large, bob, seq=1))["saved"]
    assert places == [workspace, other]
    assert await text(ada, document["id"]) == large


async def test_an_export_does_not_wait_long_for_whoever_locks_a_document(people, team, room, as_owner_role):
    """It would take the worker's few connections from events."""
    ada, bob, workspace = team
    document = await people.document(ada, workspace, "one\n")
    async with as_owner_role.transaction():
        await as_owner_role.execute("SELECT 1 FROM documents.document WHERE id = %s FOR UPDATE", (document["id"],))
        begun = time.monotonic()
        answers = await asyncio.gather(
            room.call("POST", f"{document['id']}/export", exported(1, "two\n", bob, seq=1)),
            room.call("POST", f"{document['id']}/hold", {"seconds": 1}),
        )
        for answer in answers:
            problem(answer, 503, "database_unavailable")
        assert 0.9 < time.monotonic() - begun < 2.6, "a second for its turn, and another for the lock"
    assert (await room.export(document, 1, "two\n", bob, seq=1))["saved"]


async def test_an_export_among_many_saves_loses_none_and_merges_nothing(people, team, room, told):
    """What the room is told is every version since its base, in order, each with its text."""
    ada, bob, workspace = team
    document = await people.document(ada, workspace, LINES)
    exports, seq = [], 0

    async def one(n):
        return await save(
            (ada, bob)[n % 2], document["id"], 1, LINES.replace(f"paragraph {n} ", f"paragraph {n} by-{n} ")
        )

    async def keep_exporting():
        """The room's text is its base and a line of its own; what others wrote is taken from what it is told."""
        nonlocal seq
        head = await room.head(document)
        base, content = head["content_version"], head["content"]
        while len(exports) < 6:
            seq += 1
            mine = f"{content}\nroom {seq} wrote\n"
            answer = await room.export(document, base, mine, ada, seq=seq)
            if answer["saved"]:
                exports.append((base, answer["content_version"], mine))
                base, content = answer["content_version"], mine
                continue
            told_ = answer["versions"]
            assert numbers(told_) == sorted(numbers(told_))
            assert told_[-1]["n"] == answer["content_version"]
            assert [one["previous"] for one in told_] == [base, *numbers(told_)[:-1]]
            bodies = await asyncio.gather(*(room.text(document, n) for n in numbers(told_)))
            hashes = [hashlib.sha256(body.encode()).hexdigest() for body in bodies]
            assert hashes == [one["content_hash"] for one in told_]
            assert bodies[-1] == answer["content"]
            base, content = answer["content_version"], answer["content"]

    answers, _ = await asyncio.gather(asyncio.gather(*(one(n) for n in range(20))), keep_exporting())
    assert [answer.status_code for answer in answers] == [200] * 20
    final = await text(ada, document["id"])
    assert [n for n in range(20) if f"paragraph {n} by-{n} " not in final] == []
    listed = await room.versions(document)
    assert numbers(listed) == list(range(1, 28)), "20 saves and 6 exports, each its own version"
    assert [one["previous"] for one in listed] == [None, *range(1, 27)]
    for base, n, mine in exports:
        made = listed[n - 1]
        assert (made["origin"], made["previous"]) == ("live", base)
        assert await room.text(document, n) == mine, "an export is stored as it was sent"
    events = [event["data"] for event in await told(document)]
    assert [data.get("previous_content_version") for data in events] == [None, *range(1, 27)]


async def test_events_say_what_content_follows_which(people, team, caller, told):
    """On every way a text changes: saved, merged, edited, restored, by a device at once and one by one, exported."""
    ada, bob, workspace = team
    room, sync = caller("collab"), caller("sync")
    document = await people.document(ada, workspace, LINES)
    id_ = document["id"]
    expected: list[tuple[str, int | None]] = []

    async def push(*ops):
        body = {"device_id": str(uuid7()), "known_up_to": 0, "deadline_ms": 5000, "ops": list(ops)}
        answer = await sync.ok("POST", "ops", body, headers={"X-User-Token": ada.token})
        return [one["status"] for one in answer["results"]]

    await ada.http.patch(f"/v1/documents/{id_}", json={"title": "New"}, headers={"If-Match": '"v1"'})
    expected.append(("metadata", None))
    await save(ada, id_, 2, LINES.replace("paragraph 3 ", "paragraph three "))
    expected.append(("save", 1))
    merged = await save(bob, id_, 1, LINES.replace("paragraph 50 ", "paragraph fifty "))
    assert merged.json()["merged"]
    expected.append(("save", 3))
    await edit(ada, id_, 4, {"append": "end\n"})
    expected.append(("edit", 4))
    await ada.http.post(f"/v1/documents/{id_}/versions/1/restore")
    expected.append(("restore", 5))
    assert await push(text_op(id_, 1, 6, "by a device\n", base=LINES)) == ["applied"]
    expected.append(("save", 6))
    large = "by a device\n" + "x" * 20_000
    assert await push(text_op(id_, 1, 7, large, base="by a device\n")) == ["applied"]  # not among those done at once
    expected.append(("save", 7))
    await room.export(document, 8, "room\n", bob, seq=4)
    expected.append(("live", 8))
    await ada.http.delete(f"/v1/documents/{id_}")
    created, *updates = await told(document)
    assert {"previous_content_version", "lineage", "seq"}.isdisjoint(created["data"])
    assert {"previous_content_version", "lineage", "seq"}.isdisjoint(updates.pop()["data"])
    found = [(event["data"]["origin"], event["data"].get("previous_content_version")) for event in updates]
    assert found == expected
    assert [event["data"].get("lineage") for event in updates] == [None] * 7 + [1]
    assert [event["data"].get("seq") for event in updates] == [None] * 7 + [4]


def text_op(document_id, n, base_version, content, *, base):
    return {
        "op_id": str(uuid7()), "n": n, "entity": "document", "type": "update", "id": document_id, "content": content,
        "base_version": base_version, "base_hash": hashlib.sha256(base.encode()).hexdigest(),
    }  # fmt: skip


# Holds


@pytest.fixture
def push(caller, team):
    """Ada's device sends operations."""

    async def send(*ops, device=True):
        body = {"device_id": str(uuid7()) if device else None, "known_up_to": 0, "deadline_ms": 9000, "ops": list(ops)}
        answer = await caller("sync").ok("POST", "ops", body, headers={"X-User-Token": team[0].token})
        return answer["results"]

    return send


@pytest.fixture
def writers(people, team, push):
    """Every way to write content of a document at version 1, which is `LINES`."""
    ada, bob, workspace = team
    changed = LINES.replace("paragraph 50 ", "paragraph fifty ")

    async def saved(document):
        return (await save(bob, document["id"], 1, changed)).status_code

    async def edited(document):
        return (await edit(bob, document["id"], 1, {"append": "end\n"})).status_code

    async def keyed(document):
        key = {"Idempotency-Key": str(uuid4())}
        return (await edit(bob, document["id"], 1, {"append": "end\n"}, headers=key)).status_code

    async def restored(document):
        await save(bob, document["id"], 1, "old\n")
        yield
        yield (await bob.http.post(f"/v1/documents/{document['id']}/versions/1/restore")).status_code

    async def pushed(document):
        return [one["status"] for one in await push(text_op(document["id"], 1, 1, changed, base=LINES))]

    async def pushed_among_others(document):
        others = [await people.document(ada, workspace, LINES) for _ in range(3)]
        ops = [text_op(one["id"], n, 1, changed, base=LINES) for n, one in enumerate([*others, document], 1)]
        return [one["status"] for one in await push(*ops)]

    async def pushed_large(document):
        large = changed + "x" * 20_000
        return [one["status"] for one in await push(text_op(document["id"], 1, 1, large, base=LINES))]

    return {
        "save": saved, "edit": edited, "edit with a key": keyed, "push": pushed, "wave": pushed_among_others,
        "large": pushed_large, "restore": restored,
    }  # fmt: skip


WAYS = ("save", "edit", "edit with a key", "push", "wave", "large", "restore", "settle")
DONE = ({200}, {"applied"}, {"merged"}, {"applied", "merged"})


async def prepared(people, team, push, writers, way):
    """A document, its content version, and how to write it this way."""
    ada, bob, workspace = team
    document = await people.document(ada, workspace, LINES)
    await text(bob, document["id"])  # else he is not known, and the first save that would pass does not
    if way == "restore":
        steps = writers[way](document)
        await anext(steps)

        async def write():
            return {await anext(steps)}

        return document, 2, write
    if way == "settle":
        await save(ada, document["id"], 1, LINES.replace("paragraph 3 ", "paragraph three "))
        lost = text_op(document["id"], 1, 1, LINES.replace("paragraph 3 ", "paragraph III "), base=LINES)
        [conflict] = await push(lost)
        assert conflict["status"] == "conflict"
        resolve = {
            "op_id": str(uuid7()), "n": 1, "entity": "document", "type": "resolve", "id": document["id"],
            "copy_id": conflict["conflict_document_id"], "choice": "text", "content": LINES, "base_version": 2,
        }  # fmt: skip

        async def settle():
            return {one["status"] for one in await push(resolve, device=False)}

        return document, 2, settle

    async def write_so():
        done = await writers[way](document)
        return set(done) if isinstance(done, list) else {done}

    return document, 1, write_so


@pytest.mark.parametrize("way", WAYS)
async def test_who_writes_waits_while_a_document_is_held_and_then_goes_on(people, team, room, push, writers, way):
    document, content_version, write = await prepared(people, team, push, writers, way)
    until = (await room.hold(document))["until"]
    assert until
    begun = time.monotonic()
    writing = asyncio.create_task(write())
    await asyncio.sleep(0.7)
    assert (await room.head(document))["content_version"] == content_version, "nobody wrote"
    assert await writing in DONE
    assert 0.8 < time.monotonic() - begun < 2.0, "as long as the hold, no longer"
    assert (await room.head(document))["content_version"] > content_version


@pytest.mark.parametrize("way", WAYS)
async def test_an_export_passes_a_held_document_and_lets_the_others_go_on(people, team, room, push, writers, way):
    ada, bob, _ = team
    document, content_version, write = await prepared(people, team, push, writers, way)
    await room.hold(document)
    begun = time.monotonic()
    writing = asyncio.create_task(write())
    await asyncio.sleep(0.2)
    text_now = (await room.head(document))["content"]
    mine = text_now + "room wrote\n"
    assert (await room.export(document, content_version, mine, ada, bob, seq=1))["saved"]
    done = await asyncio.wait_for(writing, 5)
    assert time.monotonic() - begun < 0.8, "they do not wait for its end"
    if way == "settle":  # by hand, from the text before: the room's is not its to replace
        assert done == {"rejected"}
        return
    assert done in DONE
    listed = await room.versions(document, after=content_version)
    assert listed[0]["origin"] == "live"
    assert len(listed) == 2
    if way != "restore":
        assert "room wrote" in await text(ada, document["id"]), "whoever waited was merged with it"


async def test_other_changes_do_not_wait(people, team, room):
    ada, _, workspace = team
    document = await people.document(ada, workspace, "one\n")
    await room.hold(document)
    begun = time.monotonic()
    path = f"/v1/documents/{document['id']}"
    renamed = await ada.http.patch(path, json={"title": "New"}, headers={"If-Match": '"v1"'})
    assert renamed.status_code == 200
    assert (await ada.http.post(f"{path}/duplicate", json={})).status_code == 201
    assert (await ada.http.delete(path)).status_code == 204
    assert (await ada.http.post(f"{path}/restore")).status_code == 200
    assert await text(ada, document["id"]) == "one\n"
    assert time.monotonic() - begun < 0.5


async def test_whoever_may_not_write_does_not_learn_of_a_hold(people, team, room):
    ada, _, workspace = team
    vic, stranger = await people.person("Vic"), await people.person("Stranger")
    await people.join(workspace, vic, "viewer")
    document = await people.document(ada, workspace, "one\n")
    await room.hold(document)
    begun = time.monotonic()
    problem(await save(vic, document["id"], 1, "x"), 403, "role_insufficient")
    problem(await save(stranger, document["id"], 1, "x"), 404, "document_not_found")
    assert time.monotonic() - begun < 0.5


async def test_a_hold_cannot_be_made_longer_nor_follow_at_once(people, team, room):
    ada, _, workspace = team
    document = await people.document(ada, workspace, "one\n")
    begun = time.monotonic()
    first = await room.hold(document)
    assert await room.hold(document) == first
    await asyncio.sleep(0.5)
    assert await room.hold(document) == first
    saved = await save(ada, document["id"], 1, "two\n")
    assert saved.status_code == 200
    assert time.monotonic() - begun < 1.2
    answers = await asyncio.gather(*(room.hold(document) for _ in range(5)))
    assert {answer["until"] for answer in answers} == {None}
    assert {answer["next"] for answer in answers} == {first["next"]}
    assert (await save(ada, document["id"], 2, "three\n")).status_code == 200
    assert time.monotonic() - begun < 1.5
    await asyncio.sleep(begun + 3.1 - time.monotonic())
    again = await room.hold(document, 0.1)
    assert again["until"] > first["next"]


async def test_a_hold_that_an_export_ended_is_followed_by_two_seconds_too(people, team, room):
    ada, bob, workspace = team
    document = await people.document(ada, workspace, "one\n")
    await room.hold(document)
    await room.export(document, 1, "two\n", bob, seq=1)
    begun = time.monotonic()
    assert (await room.hold(document))["until"] is None
    same = await people.document(ada, workspace, "one\n")
    await room.hold(same)
    await room.export(same, 1, "one\n", bob, seq=1)  # nothing to store ends it as well
    assert (await room.hold(same))["until"] is None
    assert (await save(ada, same["id"], 1, "two\n")).status_code == 200
    assert (await save(ada, document["id"], 2, "three\n")).status_code == 200
    assert time.monotonic() - begun < 0.5


@pytest.mark.parametrize("seconds", [0, -1, 1.01, 3600, "1s", None])
async def test_a_hold_is_at_most_a_second(people, team, room, seconds):
    ada, _, workspace = team
    document = await people.document(ada, workspace, "one\n")
    problem(await room.call("POST", f"{document['id']}/hold", {"seconds": seconds}), 422, "validation_error")
    assert (await save(ada, document["id"], 1, "two\n")).status_code == 200


async def test_under_constant_saves_a_held_document_is_exported_at_once(people, team, room):
    """Twenty writers without a pause: the room gets through in its second, and so do all of them after it."""
    ada, bob, workspace = team
    document = await people.document(ada, workspace, LINES)
    done, slowest = asyncio.Event(), 0.0

    async def keep_saving(n):
        nonlocal slowest
        count = 0
        while not done.is_set():
            begun = time.monotonic()
            answer = await edit((ada, bob)[n % 2], document["id"], 1, {"append": f"writer {n} line {count}\n"})
            assert answer.status_code == 200, answer.text
            slowest, count = max(slowest, time.monotonic() - begun), count + 1
        return count

    writing = [asyncio.create_task(keep_saving(n)) for n in range(20)]
    await asyncio.sleep(0.5)
    hold = await room.hold(document)
    assert hold["until"]
    head = await room.head(document)
    mine = head["content"] + "room wrote\n"
    answer = await room.export(document, head["content_version"], mine, ada, seq=1)
    while not answer["saved"]:  # what was on its way when the hold was granted; nothing comes after
        mine = answer["content"] + "room wrote\n"
        answer = await room.export(document, answer["content_version"], mine, ada, seq=1)
    await asyncio.sleep(0.5)
    done.set()
    counts = await asyncio.gather(*writing)
    final = await text(ada, document["id"])
    wanted = [f"writer {n} line {line}\n" for n, count in enumerate(counts) for line in range(count)]
    assert [line for line in wanted if final.count(line) != 1] == []
    assert final.count("room wrote\n") == 1
    assert slowest < 3.0
    listed = await room.versions(document)
    assert all(later["previous"] == earlier["n"] for earlier, later in pairwise(listed))


# What the worker role may do


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE documents.document SET title = 'x'",
        "UPDATE documents.document SET access_root_id = id",
        "UPDATE documents.document SET trashed_at = now()",
        "UPDATE documents.version SET author_id = author_id",
        "DELETE FROM documents.version",
        "UPDATE documents.body SET data = ''",
        "DELETE FROM documents.live_export",
        "UPDATE documents.live_export SET seq = 1",
        "SELECT * FROM documents.op_result",
        "SELECT documents.drop_live_exports()",
    ],
)
async def test_the_worker_role_may_not(environment, statement):
    url = environment["DOCUMENTS_WORKER_DATABASE_URL"]
    async with await psycopg.AsyncConnection.connect(url) as connection:
        with pytest.raises(pg.InsufficientPrivilege):
            await connection.execute(statement)


async def test_the_worker_role_deletes_only_what_is_in_the_trash(environment, people, team):
    ada, _, workspace = team
    document, folder = await people.document(ada, workspace), await people.folder(ada, workspace, "kept")
    url = environment["DOCUMENTS_WORKER_DATABASE_URL"]
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        for table, node in (("document", document), ("folder", folder)):
            done = await connection.execute(f"DELETE FROM documents.{table} WHERE id = %s", (node["id"],))
            assert done.rowcount == 0
        with pytest.raises(pg.ForeignKeyViolation):
            await connection.execute("DELETE FROM documents.body WHERE workspace_id = %s", (document["workspace_id"],))


async def test_users_have_no_part_in_what_exports_were_answered(as_runtime_role):
    with pytest.raises(pg.InsufficientPrivilege):
        await as_runtime_role.execute("SELECT * FROM documents.live_export")


async def test_answers_are_forgotten_after_two_weeks_and_nothing_happens_twice(
    people, team, room, as_owner_role, as_runtime_role
):
    ada, bob, workspace = team
    document = await people.document(ada, workspace, "one\n")
    await room.export(document, 1, "two\n", bob, seq=1)
    await as_owner_role.execute(
        "UPDATE documents.live_export SET created_at = now() - interval '15 days' WHERE document_id = %s",
        (document["id"],),
    )
    await as_runtime_role.execute("SELECT documents.drop_live_exports()")
    await as_runtime_role.commit()
    repeated = await room.export(document, 1, "two\n", bob, seq=1)
    assert repeated["saved"] is False
    assert [(one["lineage"], one["seq"]) for one in repeated["versions"]] == [(1, 1)], "it sees its own"
