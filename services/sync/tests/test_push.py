"""Operations of devices, from the queue to the database: once, in order, never lost, whatever others do."""

import asyncio
import json

import pytest

from common.identifiers import uuid7
from common.testing.checks import problem
from common.testing.writing import save

from .device import Device, sha256


async def text_of(person, document):
    answer = await person.http.get(f"/v1/documents/{document}/content")
    assert answer.status_code == 200, answer.text
    return answer.content.decode()


async def versions_of(person, document):
    return [one["n"] for one in (await person.http.get(f"/v1/documents/{document}/versions")).json()["items"]]


async def test_create_update_rename_move_delete_restore(desk, people):
    ada, workspace, laptop = await desk()
    create = laptop.op("document", "create", workspace_id=workspace, title="T", content="one\n")
    folder = laptop.op("folder", "create", workspace_id=workspace, title="F")
    id_ = create["id"]
    results = await laptop.push(
        create,
        laptop.update(id_, 0, "one\n", "two\n"),
        folder,
        laptop.op("document", "meta", id_, title="New", language="de"),
        laptop.op("document", "move", id_, parent_id=folder["id"]),
        laptop.op("folder", "meta", folder["id"], title="G"),
    )
    assert [result["status"] for result in results] == ["applied"] * 6, results
    assert [result.get("version") for result in results] == [1, 2, 1, 3, 4, 2]
    assert [result["n"] for result in results] == [1, 2, 3, 4, 5, 6]
    head = (await ada.http.get(f"/v1/documents/{id_}")).json()
    assert (head["title"], head["language"], head["folder_id"], head["version"]) == ("New", "de", folder["id"], 4)
    assert await text_of(ada, id_) == "two\n"
    gone, back = laptop.op("document", "delete", id_, base_version=4), laptop.op("document", "restore", id_)
    assert [result["status"] for result in await laptop.push(gone, back)] == ["applied", "applied"]
    assert (await ada.http.get(f"/v1/documents/{id_}")).json()["trashed_at"] is None
    again = [laptop.op("document", "restore", id_), laptop.op("folder", "restore", folder["id"])]
    assert [result["status"] for result in await laptop.push(*again)] == ["noop", "noop"]
    assert (await ada.http.get(f"/v1/sync/devices/{laptop.id}")).json()["last_n"] == 10


async def test_t8_a_lost_push_reply_and_its_repetition(desk):
    ada, workspace, laptop = await desk()
    create = laptop.op("document", "create", workspace_id=workspace, title="T", content="one\n")
    ops = [
        create,
        laptop.update(create["id"], 1, "one\n", "two\n"),
        laptop.op("document", "meta", create["id"], title="U"),
    ]
    first = await laptop.push(*ops)
    second = await laptop.push(*ops)
    assert [result.pop("duplicate") for result in second] == [True] * 3
    assert second == first
    assert await versions_of(ada, create["id"]) == [2, 1]
    assert (await ada.http.get(f"/v1/documents/{create['id']}")).json()["version"] == 3


async def test_the_same_push_many_times_at_once_happens_once(desk):
    ada, workspace, laptop = await desk()
    create = laptop.op("document", "create", workspace_id=workspace, title="T", content="one\n")
    update = laptop.update(create["id"], 1, "one\n", "two\n")
    body = {"device_id": laptop.id, "ops": [create, update]}
    answers = await asyncio.gather(*(ada.http.post("/v1/sync/push", json=body) for _ in range(8)))
    for answer in answers:
        if answer.status_code != 200:
            problem(answer, 409, "op_in_progress")
            assert answer.headers["Retry-After"] == "1"
    assert any(answer.status_code == 200 for answer in answers)
    assert await versions_of(ada, create["id"]) == [2, 1]


async def test_t9_an_op_id_reused_for_something_else(desk):
    ada, workspace, laptop = await desk()
    create = laptop.op("document", "create", workspace_id=workspace, title="T", content="one\n")
    await laptop.push(create)
    changed = {**create, "content": "other\n"}
    [result] = await laptop.push(changed)
    assert (result["status"], result["code"]) == ("rejected", "op_id_reused")
    assert await text_of(ada, create["id"]) == "one\n"
    [result] = await laptop.push(create)
    assert (result["status"], result["duplicate"]) == ("applied", True), "the first one stands"


async def test_t10_a_gap_in_the_numbers(desk):
    ada, workspace, laptop = await desk()
    make = lambda: laptop.op("document", "create", workspace_id=workspace, title="T")  # noqa: E731
    await laptop.push(make())
    lost, late = make(), make()
    answer = await ada.http.post("/v1/sync/push", json={"device_id": laptop.id, "ops": [late]})
    assert problem(answer, 409, "device_gap")["expected_n"] == 2
    inner = [lost, {**late, "n": 4}]
    answer = await ada.http.post("/v1/sync/push", json={"device_id": laptop.id, "ops": inner})
    assert problem(answer, 409, "device_gap")["expected_n"] == 3
    assert [result["status"] for result in await laptop.push(lost, late)] == ["applied"] * 2


async def test_t10_a_device_whose_state_was_copied_or_restored_from_a_backup(desk):
    ada, workspace, laptop = await desk()
    ops = [laptop.op("document", "create", workspace_id=workspace, title=f"T{n}") for n in range(3)]
    await laptop.push(*ops)
    laptop.n = 1  # a backup knows of one operation, and writes two others
    others = [laptop.op("document", "create", workspace_id=workspace, title=f"O{n}") for n in range(2)]
    answer = await ada.http.post("/v1/sync/push", json={"device_id": laptop.id, "ops": others})
    assert problem(answer, 409, "device_forked")["expected_n"] == 4
    new = await Device(ada).register()
    renumbered = [{**one, "n": at} for at, one in enumerate([*ops, *others], 1)]
    results = await new.push(*renumbered)
    assert [result["status"] for result in results] == ["applied"] * 5
    assert [result.get("duplicate", False) for result in results] == [True, True, True, False, False]
    listed = (await ada.http.get("/v1/documents", params={"workspace_id": workspace})).json()["items"]
    assert len(listed) == 5


async def test_t11_what_fails_blocks_only_what_builds_on_it(desk, people):
    _ada, workspace, laptop = await desk()
    fine = [laptop.op("document", "create", workspace_id=workspace, title=f"T{n}", content="x\n") for n in range(2)]
    unknown = str(uuid7())
    elsewhere = laptop.op("folder", "create", workspace_id=str(uuid7()), title="F")
    ops = [
        fine[0],
        laptop.update(unknown, 1, "a\n", "b\n"),
        laptop.op("document", "meta", unknown, title="U"),
        elsewhere,
        laptop.op("document", "create", workspace_id=workspace, title="In it", parent_id=elsewhere["id"]),
        fine[1],
    ]
    results = await laptop.push(*ops)
    assert [result["status"] for result in results] == [
        "applied", "rejected", "blocked", "rejected", "blocked", "applied",
    ]  # fmt: skip
    assert [result.get("code") for result in results] == [
        None, "document_not_found", "blocked", "workspace_not_found", "blocked", None,
    ]  # fmt: skip
    assert [result.get("duplicate") for result in await laptop.push(*ops)] == [True] * 6


async def test_t12_a_poison_op_does_not_block_the_device(desk):
    ada, workspace, laptop = await desk()
    poison = [
        laptop.op("document", "explode"),
        laptop.op("spaceship", "create"),
        laptop.op("document", "create", workspace_id=workspace, title="x" * 501),
        laptop.op("document", "create", workspace_id=workspace, title="T", content="a\0b"),
        laptop.op("document", "create", workspace_id=workspace, title="T", content="a", content_hash="0" * 64),
        laptop.op("document", "create", "no id", workspace_id=workspace, title="T"),
        laptop.op("document", "update", base_version=-1, content="a"),
        laptop.op("folder", "meta", language="de"),
        {"op_id": str(uuid7()), "n": 9},
    ]
    laptop.n = 9
    good = laptop.op("document", "create", workspace_id=workspace, title="T", content="good\n")
    results = await laptop.push(*poison, good)
    assert [result["status"] for result in results] == ["rejected"] * 9 + ["applied"]
    assert {result["code"] for result in results[:9]} == {"invalid", "content_hash_mismatch"}
    assert await text_of(ada, good["id"]) == "good\n"
    assert (await laptop.push(*poison, good))[0]["duplicate"]


async def test_a_stale_base_is_merged_and_both_are_in_it(desk):
    ada, workspace, laptop = await desk()
    base = "one\n\ntwo\n\nthree\n"
    create = laptop.op("document", "create", workspace_id=workspace, title="T", content=base)
    await laptop.push(create)
    id_ = create["id"]
    await save(ada, id_, 1, "ONE\n\ntwo\n\nthree\n")
    mine = "one\n\ntwo\n\nTHREE\n"
    [result] = await laptop.push(laptop.update(id_, 1, base, mine))
    assert (result["status"], result["content"], result["version"]) == ("merged", "ONE\n\ntwo\n\nTHREE\n", 3)
    assert result["content_hash"] == sha256(result["content"])
    assert await text_of(ada, id_) == result["content"]
    typed_on = mine.replace("two", "TWO")  # the user went on with the text that was sent
    [result] = await laptop.push(laptop.update(id_, 3, mine, typed_on))
    assert (result["status"], result["content"]) == ("merged", "ONE\n\nTWO\n\nTHREE\n")


async def test_both_changed_the_same_place_and_nothing_is_lost(desk, people):
    ada, workspace, laptop = await desk()
    create = laptop.op("document", "create", workspace_id=workspace, title="Plan", content="one\n")
    await laptop.push(create)
    await save(ada, create["id"], 1, "theirs\n")
    ops = [laptop.update(create["id"], 1, "one\n", "mine\n"), laptop.update(create["id"], 1, "mine\n", "mine too\n")]
    conflict, blocked = await laptop.push(*ops)
    assert (conflict["status"], blocked["status"]) == ("conflict", "blocked")
    assert await text_of(ada, create["id"]) == "theirs\n"
    copy = conflict["conflict_document_id"]
    assert await text_of(ada, copy) == "mine\n"
    head = (await ada.http.get(f"/v1/documents/{copy}")).json()
    assert head["title"].startswith("Plan (conflict copy, ")
    assert (await laptop.push(*ops))[0] == {**conflict, "duplicate": True}
    async with asyncio.timeout(20):
        while not (items := (await ada.http.get("/v1/sync/conflicts")).json()["items"]):
            await asyncio.sleep(0.05)
    [item] = items
    assert (item["id"], item["document_id"], item["device_id"]) == (copy, create["id"], laptop.id)
    assert (await ada.http.get("/v1/sync/status")).json()["open_conflicts"] == 1
    eve = await people.person("Eve")
    assert (await eve.http.get("/v1/sync/conflicts")).json()["items"] == []
    problem(
        await eve.http.post(f"/v1/sync/conflicts/{copy}/resolve", json={"choice": "theirs"}), 404, "conflict_not_found"
    )


@pytest.mark.parametrize(
    ("choice", "more", "expected"),
    [
        ("theirs", {}, "theirs\n"),
        ("mine", {"base_version": 2}, "mine\n"),
        ("text", {"base_version": 2, "content": "both\n"}, "both\n"),
    ],
)
async def test_settling_a_conflict(desk, choice, more, expected):
    ada, workspace, laptop = await desk()
    create = laptop.op("document", "create", workspace_id=workspace, title="Plan", content="one\n")
    await laptop.push(create)
    await save(ada, create["id"], 1, "theirs\n")
    [result] = await laptop.push(laptop.update(create["id"], 1, "one\n", "mine\n"))
    path = f"/v1/sync/conflicts/{result['conflict_document_id']}/resolve"
    async with asyncio.timeout(20):
        while not (await ada.http.get("/v1/sync/conflicts")).json()["items"]:
            await asyncio.sleep(0.05)
    if choice != "theirs":
        stale = await ada.http.post(path, json={"choice": choice, **more, "base_version": 1})
        assert problem(stale, 409, "resolution_refused")["reason"] == "version_stale"
    bad = await ada.http.post(path, json={"choice": "text"})
    problem(bad, 422, "validation_error")
    await laptop.bootstrap()
    answers = [await ada.http.post(path, json={"choice": choice, **more})]
    await laptop.until(lambda one: result["conflict_document_id"] not in one.documents())
    answers.append(await ada.http.post(path, json={"choice": choice, **more}))
    assert [answer.status_code for answer in answers] == [200, 200], answers[1].text
    assert answers[0].json() == answers[1].json(), "saying it again changes nothing"
    assert await text_of(ada, create["id"]) == expected
    copy = (await ada.http.get(f"/v1/documents/{result['conflict_document_id']}")).json()
    assert copy["trashed_at"]
    assert (await ada.http.get("/v1/sync/conflicts")).json()["items"] == []


async def test_trashing_the_copy_settles_it_too(desk):
    ada, workspace, laptop = await desk()
    create = laptop.op("document", "create", workspace_id=workspace, title="Plan", content="one\n")
    await laptop.push(create)
    await save(ada, create["id"], 1, "theirs\n")
    [result] = await laptop.push(laptop.update(create["id"], 1, "one\n", "mine\n"))
    async with asyncio.timeout(20):
        while not (await ada.http.get("/v1/sync/conflicts")).json()["items"]:
            await asyncio.sleep(0.05)
    copy = f"/v1/documents/{result['conflict_document_id']}"
    assert (await ada.http.delete(copy, headers={"If-Match": '"v1"'})).status_code == 204
    async with asyncio.timeout(20):
        while (await ada.http.get("/v1/sync/conflicts")).json()["items"]:
            await asyncio.sleep(0.05)


async def test_the_copy_of_a_restricted_document_is_readable_by_the_same_people(desk, people):
    ada, workspace, laptop = await desk()
    bob, eve = await people.person("Bob"), await people.person("Eve")
    await people.join(workspace, bob, "editor")
    await people.join(workspace, eve, "admin")
    create = laptop.op("document", "create", workspace_id=workspace, title="Secret", content="one\n")
    await laptop.push(create)
    rules = {"restricted": True, "grants": {f"user:{bob.id}": "editor"}}
    assert (await ada.http.put(f"/v1/documents/{create['id']}/access", json=rules)).status_code == 200
    head = (await ada.http.get(f"/v1/documents/{create['id']}")).json()
    await save(ada, create["id"], head["version"], "theirs\n")
    phone = await Device(bob).register()
    [result] = await phone.push(phone.update(create["id"], 1, "one\n", "mine\n"))
    assert result["status"] == "conflict", result
    copy = f"/v1/documents/{result['conflict_document_id']}"
    assert [(await person.http.get(copy)).status_code for person in (ada, bob, eve)] == [200, 200, 404]
    assert (await ada.http.get(copy)).json()["restricted"]


async def test_an_edit_wins_over_the_trash(desk):
    ada, workspace, laptop = await desk()
    create = laptop.op("document", "create", workspace_id=workspace, title="T", content="one\n")
    await laptop.push(create)
    assert (await ada.http.delete(f"/v1/documents/{create['id']}", headers={"If-Match": '"v1"'})).status_code == 204
    [result] = await laptop.push(laptop.update(create["id"], 1, "one\n", "two\n"))
    assert (result["status"], result["flags"]) == ("applied", ["restored"])
    head = (await ada.http.get(f"/v1/documents/{create['id']}")).json()
    assert head["trashed_at"] is None
    assert await text_of(ada, create["id"]) == "two\n"


async def test_a_deletion_does_not_take_away_what_its_author_had_not_seen(desk):
    ada, workspace, laptop = await desk()
    create = laptop.op("document", "create", workspace_id=workspace, title="T", content="one\n")
    await laptop.push(create)
    await save(ada, create["id"], 1, "two\n")
    [result] = await laptop.push(laptop.op("document", "delete", create["id"], base_version=1))
    assert (result["status"], result["flags"], result["version"]) == ("noop", ["kept"], 2)
    assert (await ada.http.get(f"/v1/documents/{create['id']}")).json()["trashed_at"] is None
    [result] = await laptop.push(laptop.op("document", "delete", create["id"], base_version=2))
    assert result["status"] == "applied"


async def test_an_unknown_base_makes_a_copy_and_one_from_a_lost_future_is_found_by_its_hash(desk):
    ada, workspace, laptop = await desk()
    create = laptop.op("document", "create", workspace_id=workspace, title="T", content="one\n")
    await laptop.push(create)
    [ahead] = await laptop.push(laptop.update(create["id"], 99, "one\n", "two\n"))
    assert (ahead["status"], ahead["version"]) == ("applied", 2), "version 99 was lost, but its text is known"
    [unknown] = await laptop.push(laptop.update(create["id"], 99, "never seen\n", "three\n"))
    assert unknown["status"] == "conflict"
    assert await text_of(ada, unknown["conflict_document_id"]) == "three\n"
    [lying] = await laptop.push(laptop.update(create["id"], 1, "not version 1\n", "four\n"))
    assert lying["status"] == "conflict", "a version that was another text is no base"
    [same] = await laptop.push(laptop.update(create["id"], 99, "never seen\n", "two\n"))
    assert same["status"] == "noop"


async def test_no_base_hash_means_the_version_named(desk):
    _ada, workspace, laptop = await desk()
    create = laptop.op("document", "create", workspace_id=workspace, title="T", content="one\n")
    update = laptop.op("document", "update", create["id"], base_version=1, content="two\n")
    assert [result["status"] for result in await laptop.push(create, update)] == ["applied", "applied"]


async def test_titles_and_places_are_those_of_the_last_writer_who_is_told(desk, people):
    ada, workspace, laptop = await desk()
    folder = (await people.folder(ada, workspace, "F"))["id"]
    create = laptop.op("document", "create", workspace_id=workspace, title="T")
    await laptop.push(create)
    path, headers = f"/v1/documents/{create['id']}", {"If-Match": '"v1"'}
    assert (await ada.http.patch(path, json={"title": "Theirs"}, headers=headers)).status_code == 200
    assert (await ada.http.patch(path, json={"folder_id": folder}, headers=headers)).status_code == 200
    title, same, place = await laptop.push(
        laptop.op("document", "meta", create["id"], title="Mine", base_version=1),
        laptop.op("document", "meta", create["id"], title="Mine", base_version=1),
        laptop.op("document", "move", create["id"], parent_id=None, base_version=1),
    )
    assert (title["status"], title["flags"], title["overwritten"]) == ("applied", ["overwrote"], {"title": "Theirs"})
    assert same["status"] == "noop"
    assert (place["status"], place["flags"]) == ("applied", ["overwrote"])
    assert place["overwritten"] == {"parent_id": folder}
    head = (await ada.http.get(path)).json()
    assert (head["title"], head["folder_id"]) == ("Mine", None)


async def test_a_folder_circle_made_by_two_devices(desk, people):
    ada, workspace, laptop = await desk()
    phone = await Device(ada).register()
    one, two = [(await people.folder(ada, workspace, name))["id"] for name in "ab"]
    [first] = await laptop.push(laptop.op("folder", "move", one, parent_id=two))
    [second] = await phone.push(phone.op("folder", "move", two, parent_id=one))
    assert (first["status"], second["status"], second["code"]) == ("applied", "rejected", "folder_cycle")
    heads = [(await ada.http.get(f"/v1/folders/{id_}")).json()["parent_id"] for id_ in (one, two)]
    assert heads == [two, None]


async def test_what_is_made_in_a_folder_that_is_gone_lies_at_the_nearest_one_above(desk, people):
    ada, workspace, laptop = await desk()
    top = (await people.folder(ada, workspace, "top"))["id"]
    inner = (await people.folder(ada, workspace, "inner", top))["id"]
    assert (await ada.http.delete(f"/v1/folders/{inner}", headers={"If-Match": '"v1"'})).status_code == 204
    documents = [
        laptop.op("document", "create", workspace_id=workspace, title="T", parent_id=inner),
        laptop.op("document", "create", workspace_id=workspace, title="T", parent_id=str(uuid7())),
        laptop.op("folder", "create", workspace_id=workspace, title="F", parent_id=inner),
    ]
    results = await laptop.push(*documents)
    assert [result["status"] for result in results] == ["applied"] * 3
    assert [result["flags"] for result in results] == [["relocated"], ["relocated", "restricted"], ["relocated"]]
    places = [(await ada.http.get(f"/v1/documents/{one['id']}")).json()["folder_id"] for one in documents[:2]]
    assert places == [top, None]
    other = await people.workspace(ada)
    foreign = laptop.op("document", "create", workspace_id=other, title="T", parent_id=top)
    [result] = await laptop.push(foreign)
    assert (result["status"], result["code"]) == ("rejected", "folder_not_found"), "its parent is in another workspace"


async def test_what_was_meant_for_a_few_is_never_seen_by_more(desk, people):
    """Work of a device away from its folder: that is in the trash, or not the device's any more, when it comes."""
    ada, workspace, _ = await desk()
    bob, eve = await people.person("Bob"), await people.person("Eve")
    for person in (bob, eve):
        await people.join(workspace, person, "editor")
    laptop = await Device(bob).register()
    board, closed = [await people.folder(ada, workspace) for _ in range(2)]
    for folder, grants in ((board, {f"user:{bob.id}": "editor"}), (closed, {})):
        rules = {"restricted": True, "grants": grants}
        assert (await ada.http.put(f"/v1/folders/{folder['id']}/access", json=rules)).status_code == 200
    edited = await people.document(ada, workspace, "one\n", folder_id=board["id"])
    assert (await ada.http.delete(f"/v1/folders/{board['id']}")).status_code == 204
    ops = [
        laptop.op("document", "create", workspace_id=workspace, title="T", parent_id=board["id"]),
        laptop.op("folder", "create", workspace_id=workspace, title="F", parent_id=board["id"]),
        laptop.update(edited["id"], 1, "one\n", "two\n"),
        laptop.op("document", "create", workspace_id=workspace, title="T", parent_id=closed["id"]),
    ]
    results = await laptop.push(*ops)
    assert [result["status"] for result in results] == ["applied"] * 4, results
    flags = [result["flags"] for result in results]
    assert flags == [
        ["relocated", "restricted"],
        ["relocated", "restricted"],
        ["restored"],
        ["relocated", "restricted"],
    ]
    for op, ada_too in zip(ops, (True, True, True, False), strict=True):
        path = f"/v1/{op['entity']}s/{op['id']}"
        seen = [(await person.http.get(path)).status_code for person in (ada, bob, eve)]
        assert seen == [200 if ada_too else 403, 200, 404], op
    inside = laptop.op("document", "create", workspace_id=workspace, title="T", parent_id=ops[1]["id"])
    assert (await laptop.push(inside))[0]["status"] == "applied"
    assert (await eve.http.get(f"/v1/documents/{inside['id']}")).status_code == 404


async def test_who_has_a_grant_at_a_document_alone_edits_it_out_of_the_trash(desk, people):
    ada, workspace, _ = await desk()
    gil = await people.person("Gil")
    await people.join(workspace, gil, "guest")
    folder = await people.folder(ada, workspace)
    document = await people.document(ada, workspace, "one\n", folder_id=folder["id"])
    path = f"/v1/documents/{document['id']}"
    assert (await ada.http.put(f"{path}/access/user:{gil.id}", json={"role": "editor"})).status_code == 200
    assert (await ada.http.delete(path)).status_code == 204
    laptop = await Device(gil).register()
    [result] = await laptop.push(laptop.update(document["id"], 1, "one\n", "two\n"))
    assert (result["status"], result["flags"]) == ("applied", ["restored"])
    assert (await ada.http.get(path)).json()["folder_id"] == folder["id"]
    assert await text_of(ada, document["id"]) == "two\n"


async def test_a_conflict_copy_can_be_handed_in_again(desk, people):
    """After the server was restored from a backup a device sends what it has, under the ids it has it."""
    ada, workspace, laptop = await desk()
    document = await people.document(ada, workspace, "one\n")
    await save(ada, document["id"], 1, "two\n")
    [result] = await laptop.push(laptop.update(document["id"], 1, "one\n", "three\n"))
    copy = result["conflict_document_id"]
    phone = await Device(ada).register()
    again = phone.op("document", "create", copy, workspace_id=workspace, title="T", content="three\n")
    assert [result["status"] for result in await phone.push(again)] == ["noop"]


async def test_creating_what_exists(desk):
    ada, workspace, laptop = await desk()
    create = laptop.op("document", "create", workspace_id=workspace, title="T", content="one\n")
    await laptop.push(create)
    same = laptop.op("document", "create", create["id"], workspace_id=workspace, title="T", content="one\n")
    other = laptop.op("document", "create", create["id"], workspace_id=workspace, title="T", content="two\n")
    results = await laptop.push(same)
    results += await laptop.push(other)
    assert [result["status"] for result in results] == ["noop", "conflict"]
    assert await text_of(ada, results[1]["conflict_document_id"]) == "two\n"
    _eve, theirs, phone = await desk("Eve")
    stolen = phone.op("document", "create", create["id"], workspace_id=theirs, title="T", content="x\n")
    [result] = await phone.push(stolen)
    assert (result["status"], result["code"]) == ("rejected", "document_exists")


async def test_who_may_only_read_writes_nothing(desk, people):
    ada, workspace, laptop = await desk()
    create = laptop.op("document", "create", workspace_id=workspace, title="T", content="one\n")
    await laptop.push(create)
    eve = await people.person("Eve")
    await people.join(workspace, eve, "viewer")
    phone = await Device(eve).register()
    id_ = create["id"]
    results = []
    for op in (
        phone.update(id_, 1, "one\n", "two\n"),
        phone.op("document", "meta", id_, title="U"),
        phone.op("document", "move", id_, parent_id=None),
        phone.op("document", "delete", id_),
        phone.op("document", "create", workspace_id=workspace, title="T"),
        phone.op("folder", "create", workspace_id=workspace, title="T"),
    ):
        results += await phone.push(op)
    assert {(result["status"], result["code"]) for result in results} == {("rejected", "role_insufficient")}
    assert await versions_of(ada, id_) == [1]


async def test_large_texts(desk):
    ada, workspace, laptop = await desk()
    base = "line\n" * 20_000
    create = laptop.op("document", "create", workspace_id=workspace, title="T", content=base)
    await laptop.push(create)
    await save(ada, create["id"], 1, "top\n" + base)
    mine = base + "end\n"
    [merged] = await laptop.push(laptop.update(create["id"], 1, base, mine))
    assert (merged["status"], "content" in merged) == ("merged", False)
    assert (await ada.http.get(merged["content_url"])).text == "top\n" + base + "end\n"
    [applied] = await laptop.push(laptop.update(create["id"], 3, "top\n" + mine, "top\n" + mine * 2))
    assert applied["status"] == "applied"
    [huge] = await laptop.push(
        laptop.op("document", "create", workspace_id=workspace, title="T", content="x" * 9_000_000)
    )
    assert huge["status"] == "applied"


async def test_documents_away_means_later(desk, fleet, monkeypatch):
    ada, workspace, laptop = await desk()
    ops = [laptop.op("document", "create", workspace_id=workspace, title=f"T{n}") for n in range(3)]
    client = fleet["sync"].app.state.platform.client
    monkeypatch.setitem(client._urls, "documents", "http://127.0.0.1:9")
    results = await laptop.push(*ops)
    assert [result["status"] for result in results] == ["retry"] * 3
    assert (await ada.http.get(f"/v1/sync/devices/{laptop.id}")).json()["last_n"] == 0
    monkeypatch.undo()
    async with asyncio.timeout(10):
        while (results := await laptop.push(*ops))[0]["status"] == "retry":
            await asyncio.sleep(0.2)
    assert [result["status"] for result in results] == ["applied"] * 3


async def test_a_full_object_store_ends_the_batch_and_nothing_is_taken(desk, fleet, monkeypatch):
    ada, workspace, laptop = await desk()
    small = [laptop.op("document", "create", workspace_id=workspace, title=f"T{n}", content="x") for n in range(2)]
    large = laptop.op("document", "create", workspace_id=workspace, title="L", content="x" * 50_000)
    last = laptop.op("folder", "create", workspace_id=workspace, title="F")
    bodies = fleet["documents"].app.state.resources.bodies
    from common.objects import ObjectStoreUnavailableError

    async def full(*_):
        raise ObjectStoreUnavailableError

    monkeypatch.setattr(bodies, "put", full)
    results = await laptop.push(small[0], large, small[1], last)
    statuses = [result["status"] for result in results]
    assert statuses == ["applied", "retry", "retry", "retry"]
    monkeypatch.undo()
    again = [{**one, "n": at} for at, one in enumerate((small[0], large, small[1], last), 1)]
    assert [result["status"] for result in await laptop.push(*again)] == ["applied"] * 4
    listed = (await ada.http.get("/v1/documents", params={"workspace_id": workspace})).json()["items"]
    assert len(listed) == 3


async def test_own_operations_come_back_under_their_names(desk):
    ada, workspace, laptop = await desk()
    await laptop.bootstrap()
    create = laptop.op("document", "create", workspace_id=workspace, title="T", content="one\n")
    await laptop.push(create)
    page = await laptop.post("pull", cursor=laptop.cursor, after_write=laptop.after_write, wait_ms=2000)
    assert page["read_after_write"]
    [change] = [change for change in page["changes"] if change["id"] == create["id"]]
    assert (change["op_id"], change["device_id"], change["actor"]) == (create["op_id"], laptop.id, str(ada.id))
    assert change["content"] == "one\n"


async def test_a_push_as_large_as_a_request_may_be_gets_through(desk):
    _ada, workspace, laptop = await desk()
    text = "x" * (10 * 1024 * 1024 - 1000)
    [result] = await laptop.push(laptop.op("document", "create", workspace_id=workspace, title="T", content=text))
    assert result["status"] == "applied", "else it would be put off for ever, and all behind it"


async def test_a_device_does_not_settle_conflicts_by_operations(desk):
    _ada, workspace, laptop = await desk()
    create = laptop.op("document", "create", workspace_id=workspace, title="T")
    resolve = laptop.op("document", "resolve", create["id"], copy_id=create["id"], choice="theirs")
    results = await laptop.push(create, resolve)
    assert [result["status"] for result in results] == ["applied", "rejected"]


async def test_waiting_polls_hold_no_connection(desk):
    ada, workspace, laptop = await desk()
    await laptop.bootstrap()
    async with asyncio.timeout(20):
        while await laptop.pull():
            await asyncio.sleep(0.2)
    waiting = [asyncio.create_task(laptop.post("poll", cursor=laptop.cursor, timeout=3)) for _ in range(4)]
    others = [await Device(ada).register() for _ in range(4)]
    for other in others:
        await other.bootstrap()
    waiting += [
        asyncio.create_task(other.post("poll", cursor=other.cursor, timeout=3)) for other in others for _ in "ab"
    ]
    await asyncio.sleep(0.5)
    async with asyncio.timeout(1.5):
        assert (await ada.http.get("/v1/sync/status")).status_code == 200
    await asyncio.gather(*waiting)
    assert workspace


async def test_one_that_stands_in_the_way_holds_no_other_up(desk, people):
    ada, workspace, laptop = await desk()
    taken = await people.document(ada, workspace, "theirs\n")
    old = (await people.document(ada, workspace, "one\n"))["id"]
    creates = [
        laptop.op("document", "create", workspace_id=workspace, title=f"T{n}", content=f"{n}\n") for n in range(60)
    ]
    again = laptop.op("document", "create", taken["id"], workspace_id=workspace, title="T", content="mine\n")
    unstorable = laptop.op("document", "create", workspace_id=workspace, title="T\u0000", content="x\n")
    update = laptop.update(old, 1, "one\n", "two\n")
    stale = laptop.update(taken["id"], 0, "never\n", "mine too\n")
    results = await laptop.push(*creates[:30], again, *creates[30:], unstorable, update, stale)
    statuses = [result["status"] for result in results]
    assert statuses == ["applied"] * 30 + ["conflict"] + ["applied"] * 30 + ["rejected", "applied", "blocked"]
    assert await text_of(ada, old) == "two\n"
    for create in (creates[0], creates[59]):
        assert await text_of(ada, create["id"]) == create["content"]
    repeated = await laptop.post("push", device_id=laptop.id, ops=[*creates[:30], again])
    assert all(result["duplicate"] for result in repeated["results"])
    assert [result["status"] for result in repeated["results"]] == statuses[:31]


async def test_a_lost_answer_to_half_of_them(desk):
    _ada, workspace, laptop = await desk()
    creates = [laptop.op("document", "create", workspace_id=workspace, title="T", content=f"{n}\n") for n in range(40)]
    await laptop.push(*creates[:20])
    results = (await laptop.post("push", device_id=laptop.id, ops=creates))["results"]
    assert [result["status"] for result in results] == ["applied"] * 40
    assert [result.get("duplicate", False) for result in results] == [True] * 20 + [False] * 20
    await laptop.bootstrap()
    await laptop.until(lambda one: {create["id"] for create in creates} == set(one.documents()))
    assert {(one["version"], one["op_id"]) for one in laptop.documents().values()} == {
        (1, create["op_id"]) for create in creates
    }, "each event names its own operation"


async def test_what_is_no_text_is_refused_with_its_operation_or_becomes_what_a_browser_makes_of_it(desk):
    ada, workspace, laptop = await desk()
    cut = "a\ud83d\n"  # the first half of an emoji
    made = laptop.op("document", "create", workspace_id=workspace, title=cut.strip(), content=cut)
    made["content_hash"] = sha256("a\ufffd\n")
    deep: list[object] = []
    for _ in range(400):
        deep = [deep]
    bad = [
        laptop.op("document", "create", workspace_id=workspace, title="a\0b"),
        laptop.op("document", "create", workspace_id=workspace, title="T", content="a\0b"),
        laptop.op("document", "create", workspace_id=workspace, title=deep),
        laptop.op("document", "update", made["id"], base_version=10**40, content="x\n"),
        laptop.op("document", "create", workspace_id=workspace, title="T", language="\ud800"),
    ]
    good = laptop.op("document", "create", workspace_id=workspace, title="T", kept=deep, content="x\n")
    body = json.dumps({"device_id": laptop.id, "ops": [made, *bad, good]})
    answer = await ada.http.post("/v1/sync/push", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 200, answer.text
    statuses = [(one["status"], one.get("code")) for one in answer.json()["results"]]
    assert statuses == [("applied", None), *[("rejected", "invalid")] * 5, ("applied", None)]
    assert await text_of(ada, made["id"]) == "a\ufffd\n"
