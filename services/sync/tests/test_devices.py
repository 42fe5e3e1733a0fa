"""Devices, streams, polls, verification, status, as clients meet them."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest

from common.identifiers import uuid7
from common.testing.checks import problem
from common.testing.writing import save

from .device import Device


class Events:
    """A stream as a client reads it."""

    def __init__(self, lines):
        self._lines = lines

    async def next(self, seconds=5):
        """Name and data of the next event; comments are skipped."""
        name = None
        async with asyncio.timeout(seconds):
            async for line in self._lines:
                if line.startswith("event: "):
                    name = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    return name, json.loads(line.removeprefix("data: "))
        return None, None


@asynccontextmanager
async def stream(device):
    params = {"device_id": device.id}
    async with device.person.http.stream("GET", "/v1/sync/stream", params=params) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield Events(answer.aiter_lines())


async def settled(device):
    """Wait until nothing more comes."""
    async with asyncio.timeout(20):
        while await device.pull() or not device.held:
            await asyncio.sleep(0.2)


async def test_register_list_rename_remove(people):
    ada = await people.person("Ada")
    laptop, phone = await Device(ada).register(), await Device(ada).register()
    items = (await ada.http.get("/v1/sync/devices")).json()["items"]
    assert {item["id"] for item in items} == {laptop.id, phone.id}
    body = {"name": "Ada's laptop", "platform": "linux", "app_version": "2.0"}
    answer = await ada.http.put(f"/v1/sync/devices/{laptop.id}", json=body)
    assert answer.status_code == 200
    got = (await ada.http.get(f"/v1/sync/devices/{laptop.id}")).json()
    assert (got["name"], got["app_version"], got["last_n"]) == ("Ada's laptop", "2.0", 0)
    assert got["limits"]["max_ops"] == 100
    assert (await ada.http.delete(f"/v1/sync/devices/{phone.id}")).status_code == 204
    assert (await ada.http.delete(f"/v1/sync/devices/{phone.id}")).status_code == 204
    problem(await ada.http.get(f"/v1/sync/devices/{phone.id}"), 404, "device_not_found")
    problem(await ada.http.put(f"/v1/sync/devices/{phone.id}", json=body), 403, "device_revoked")
    problem(await ada.http.delete(f"/v1/sync/devices/{uuid7()}"), 404, "device_not_found")
    assert (await ada.http.get("/v1/sync/devices")).status_code == 200, "the session that asked goes on"


async def test_somebody_elses_device(people):
    ada, bob = await people.person("Ada"), await people.person("Bob")
    laptop = await Device(ada).register()
    body = {"name": "Mine", "platform": "web"}
    problem(await bob.http.put(f"/v1/sync/devices/{laptop.id}", json=body), 409, "device_taken")
    for method in ("get", "delete"):
        problem(await getattr(bob.http, method)(f"/v1/sync/devices/{laptop.id}"), 404, "device_not_found")
    for path, more in (("bootstrap", {}), ("push", {"ops": [{"op_id": str(uuid7()), "n": 1}]})):
        answer = await bob.http.post(f"/v1/sync/{path}", json={"device_id": laptop.id, **more})
        problem(answer, 404, "device_not_found")
    problem(await bob.http.get("/v1/sync/stream", params={"device_id": laptop.id}), 404, "device_not_found")


async def test_t34_another_protocol(people):
    ada = await people.person("Ada")
    body = {"name": "Old", "platform": "web"}
    answer = await ada.http.put(f"/v1/sync/devices/{uuid7()}", json=body, headers={"X-Sync-Protocol": "0"})
    assert problem(answer, 426, "protocol_unsupported")["supported"] == [1]


async def test_a_change_is_poked_and_names_its_scope(people, device):
    ada = await people.person("Ada")
    workspace = await people.workspace(ada)
    document = (await people.document(ada, workspace, "a\n"))["id"]
    laptop = await device(ada)
    await settled(laptop)
    async with stream(laptop) as events:
        assert await events.next() == ("poke", {"scopes": {}}), "on connecting anything may have changed"
        await save(ada, document, 1, "b\n")
        name, told = await events.next()
        assert (name, set(told["scopes"])) == ("poke", {f"r:{workspace}"})
        assert {change["id"] for change in await laptop.pull()} == {document}


async def test_who_joins_a_workspace_is_poked_and_pokes_follow_from_there(people, device):
    ada, bob = await people.person("Ada"), await people.person("Bob")
    workspace = await people.workspace(ada)
    document = (await people.document(ada, workspace, "a\n"))["id"]
    laptop = await device(bob)
    async with stream(laptop) as events:
        await events.next()
        invited = await ada.http.post(
            f"/v1/workspaces/{workspace}/invitations", json={"email": bob.email, "role": "editor"}
        )
        assert invited.status_code in (200, 201), invited.text
        await people.join(workspace, bob, "viewer")
        role = {"role": "editor"}
        changed = await ada.http.patch(f"/v1/workspaces/{workspace}/members/{bob.id}", json=role)
        assert changed.status_code == 200, changed.text
        await events.next()
        await laptop.until(lambda one: document in one.documents())
        await save(ada, document, 1, "b\n")
        async with asyncio.timeout(5):
            while f"r:{workspace}" not in (await events.next())[1]["scopes"]:
                pass


async def test_t24_a_device_that_is_removed_while_it_streams(people, device):
    ada = await people.person("Ada")
    other = await people.sign_in(ada)
    stolen = await device(other)
    async with stream(stolen) as events:
        await events.next()
        assert (await ada.http.delete(f"/v1/sync/devices/{stolen.id}")).status_code == 204
        name, told = await events.next(1)
        assert (name, told["reason"]) == ("bye", told["reason"])
        assert told["reason"] in ("device_revoked", "session_revoked")
    async with asyncio.timeout(1):
        while (answer := await other.http.get("/v1/sync/devices")).status_code != 401:
            await asyncio.sleep(0.02)
    problem(answer, 401, "session_revoked")
    problem(await ada.http.post("/v1/sync/pull", json={"cursor": stolen.cursor}), 403, "device_revoked")


async def test_a_device_of_the_same_session_is_refused_once_removed(people, device):
    ada = await people.person("Ada")
    laptop = await device(ada)
    async with stream(laptop) as events:
        await events.next()
        assert (await ada.http.delete(f"/v1/sync/devices/{laptop.id}")).status_code == 204
        assert await events.next(1) == ("bye", {"reason": "device_revoked"})
    for path, body in (
        ("bootstrap", {"device_id": laptop.id}),
        ("pull", {"cursor": laptop.cursor}),
        ("push", {"device_id": laptop.id, "ops": [{"op_id": str(uuid7()), "n": 1}]}),
        ("poll", {"cursor": laptop.cursor, "timeout": 0}),
    ):
        problem(await ada.http.post(f"/v1/sync/{path}", json=body), 403, "device_revoked")


async def test_of_too_many_streams_for_one_device_the_others_end(people, device):
    ada = await people.person("Ada")
    laptop = await device(ada)
    async with stream(laptop) as one, stream(laptop) as two, stream(laptop) as three, stream(laptop) as four:
        for events in (one, two, three, four):
            await events.next()
        async with stream(laptop) as five:
            assert (await five.next())[0] == "poke"
            waiting = [asyncio.create_task(events.next(2)) for events in (one, two, three, four)]
            done, pending = await asyncio.wait(waiting, timeout=1)
            assert [task.result() for task in done] == [("bye", {"reason": "replaced"})]
            for task in pending:
                task.cancel()


async def test_t26_many_changes_are_few_pokes(people, device):
    ada = await people.person("Ada")
    workspace = await people.workspace(ada)
    document = (await people.document(ada, workspace, "0\n"))["id"]
    laptop = await device(ada)
    await settled(laptop)
    async with stream(laptop) as events:
        await events.next()
        for version in range(1, 41):
            await save(ada, document, version, f"{version}\n")
        pokes, seq = 0, 0
        [head] = [
            one["seq"] for one in (await ada.http.get("/v1/sync/status")).json()["scopes"] if workspace in one["scope"]
        ]
        while seq < head:
            name, told = await events.next()
            assert name == "poke"
            seq, pokes = told["scopes"].get(f"r:{workspace}", seq), pokes + 1
        assert pokes <= 20


async def test_poll_waits_for_a_change_and_no_longer(people, device):
    ada = await people.person("Ada")
    workspace = await people.workspace(ada)
    document = (await people.document(ada, workspace, "a\n"))["id"]
    laptop = await device(ada)
    while (await laptop.post("poll", cursor=laptop.cursor, timeout=0.1)) != {"changed": False, "backoff": 1}:
        await laptop.pull()
    waiting = asyncio.create_task(laptop.post("poll", cursor=laptop.cursor, timeout=10))
    await asyncio.sleep(0.1)
    await save(ada, document, 1, "b\n")
    async with asyncio.timeout(3):
        assert await waiting == {"changed": True, "backoff": 0}
    assert (await laptop.post("poll", cursor=laptop.cursor, timeout=10))["changed"]
    assert await laptop.pull()


async def test_t27_without_any_poke_a_pull_still_tells_everything(people, device, fleet, monkeypatch):
    ada = await people.person("Ada")
    workspace = await people.workspace(ada)
    laptop = await device(ada)
    monkeypatch.setattr(fleet["sync"].app.state.resources.hub, "_wake", lambda *_: None)
    document = (await people.document(ada, workspace, "a\n"))["id"]
    await laptop.until(lambda one: document in one.documents())


async def test_pokes_come_although_redis_cannot_be_heard(people, device, fleet):
    ada = await people.person("Ada")
    workspace = await people.workspace(ada)
    document = (await people.document(ada, workspace, "a\n"))["id"]
    laptop = await device(ada)
    await settled(laptop)
    hub = fleet["sync"].app.state.resources.hub
    async with stream(laptop) as events:
        await events.next()
        hub._listening, wake = False, hub._wake
        changed, hub.changed = hub.changed, lambda *_: asyncio.sleep(0)
        try:
            await asyncio.sleep(2.2)  # it has looked once
            await save(ada, document, 1, "b\n")
            assert (await events.next(4))[0] == "poke"
        finally:
            hub._listening, hub.changed, hub._wake = True, changed, wake


async def test_t28_what_differs_is_found_and_mended(people, device):
    ada = await people.person("Ada")
    workspace = await people.workspace(ada)
    for n in range(20):
        await people.document(ada, workspace, f"{n}\n")
    laptop = await device(ada)
    await laptop.until(lambda one: len(one.documents()) == 20)
    scope = f"r:{workspace}"
    found = [key for key in laptop.held if key[1] == "document"]
    laptop.held[found[0]]["version"] = 7  # bits rot
    del laptop.held[found[1]]
    extra = dict(laptop.held[found[2]], id=str(uuid7()))
    laptop.held[scope, "document", extra["id"]] = extra
    buckets = laptop.buckets(scope)
    answer = await laptop.post("verify", scope=scope, buckets=buckets)
    assert {one["bucket"] for one in answer["differs"]} == {
        int(id_[-2:], 16) for id_ in (found[0][2], found[1][2], extra["id"])
    }
    for one in answer["differs"]:
        mine = [key for key in laptop.held if key[0] == scope and int(key[2][-2:], 16) == one["bucket"]]
        for key in mine:
            del laptop.held[key]
        laptop.apply(one["changes"], {"roles": {}, "checksums": {}})
    laptop.compare()
    assert len(laptop.documents()) == 20
    assert (await laptop.post("verify", scope=scope, buckets=laptop.buckets(scope)))["differs"] == []
    other = await ada.http.post("/v1/sync/verify", json={"scope": f"r:{uuid7()}"})
    problem(other, 404, "scope_not_found")
    stranger = await people.person("Eve")
    problem(await stranger.http.post("/v1/sync/verify", json={"scope": scope}), 404, "scope_not_found")


async def test_t23_a_pull_waits_for_what_the_device_wrote(people, device, fleet):
    ada = await people.person("Ada")
    workspace = await people.workspace(ada)
    laptop = await device(ada)
    await settled(laptop)
    document = (await people.document(ada, workspace, "a\n"))["id"]
    from sync.routes.answers import after_write

    token = after_write([{"id": document, "version": 1}])
    page = await laptop.post("pull", cursor=laptop.cursor, after_write=token, wait_ms=2000)
    assert page["read_after_write"] is True
    assert document in str(page["changes"])
    never = after_write([{"id": document, "version": 99}])
    loop = asyncio.get_running_loop()
    began = loop.time()
    page = await laptop.post("pull", cursor=page["cursor"], after_write=never, wait_ms=200)
    assert page["read_after_write"] is False
    assert loop.time() - began < 1.5
    answer = await ada.http.post("/v1/sync/pull", json={"cursor": page["cursor"], "after_write": "x!"})
    problem(answer, 400, "cursor_invalid")


async def test_status(people, device):
    ada = await people.person("Ada")
    workspace = await people.workspace(ada)
    laptop = await device(ada)
    await settled(laptop)
    status = (await ada.http.get("/v1/sync/status")).json()
    scopes = {one["scope"]: one for one in status["scopes"]}
    assert scopes[f"r:{workspace}"]["role"] == "owner"
    assert scopes[f"r:{workspace}"]["count"] == 2
    assert [one["id"] for one in status["devices"]] == [laptop.id]
    assert status["open_conflicts"] == 0
    assert status["lag_ms"] >= 0


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("pull", {"cursor": "x", "limit": 0}),
        ("pull", {"cursor": "x", "limit": 2001}),
        ("pull", {"cursor": "x", "max_bytes": 0}),
        ("pull", {"cursor": "x", "wait_ms": 2001}),
        ("pull", {"cursor": "x" * 401}),
        ("poll", {"cursor": "x", "timeout": 26}),
        ("verify", {"scope": "w:x"}),
        ("verify", {"scope": f"r:{uuid7()}", "buckets": []}),
        ("bootstrap", {}),
        ("push", {"device_id": str(uuid7()), "ops": []}),
        ("push", {"device_id": str(uuid7()), "ops": [{"op_id": "x", "n": 1}]}),
        ("push", {"device_id": str(uuid7()), "ops": [{"op_id": str(uuid7()), "n": n} for n in range(1, 102)]}),
    ],
)
async def test_bad_requests(people, path, body):
    ada = await people.person("Ada")
    problem(await ada.http.post(f"/v1/sync/{path}", json=body), 422, "validation_error")
