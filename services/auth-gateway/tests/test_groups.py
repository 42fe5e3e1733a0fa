"""Groups: principals with members; each change is one version of the group, told and announced."""

import asyncio
import time
from uuid import UUID, uuid4

import pytest

from common.contracts.auth_gateway import MAX_MEMBERS_TOLD
from common.identifiers import uuid7


@pytest.fixture
async def team(people):
    """Ada's workspace with Bob, and a group there."""

    async def make(role="editor", name="Editors"):
        ada, bob = await people.person(), await people.person("Bob")
        workspace = await people.workspace(ada)
        await people.join(workspace, bob, role)
        answer = await ada.http.post(f"/v1/workspaces/{workspace}/groups", json={"name": name})
        assert answer.status_code == 201, answer.text
        return ada, bob, workspace, f"/v1/workspaces/{workspace}/groups/{answer.json()['id']}", answer.json()["id"]

    return make


async def test_a_group_is_made_read_renamed_and_ended(team, told, refused):
    ada, bob, workspace, path, group = await team(name="  Réviseurs ")
    read = await bob.http.get(path)
    assert read.json().items() >= {"id": group, "workspace_id": workspace, "name": "Réviseurs", "version": 1}.items()
    assert (read.headers["ETag"], UUID(group).version) == ('"v1"', 7)
    renamed = await ada.http.patch(path, json={"name": "Authors"}, headers={"If-Match": '"v1"'})
    assert (renamed.status_code, renamed.json()["name"], renamed.headers["ETag"]) == (200, "Authors", '"v2"')
    refused(await ada.http.patch(path, json={"name": "x"}, headers={"If-Match": '"v1"'}), 412, "precondition_failed")
    assert (await ada.http.patch(path, json={"name": "Authors"})).json()["version"] == 2
    assert (await ada.http.delete(path)).status_code == 204
    for answer in (await ada.http.get(path), await ada.http.delete(path), await ada.http.get(f"{path}/members")):
        refused(answer, 404, "group_not_found")
    assert (await ada.http.get(f"/v1/workspaces/{workspace}/groups")).json()["items"] == []
    names = [(kind, version, data["name"]) for kind, version, data in await told(group)]
    assert names == [("created", 1, "Réviseurs"), ("updated", 2, "Authors"), ("deleted", 3, "Authors")]


async def test_a_name_is_used_once_in_a_workspace_in_whatever_case(team, refused):
    ada, _, workspace, path, _ = await team(name="Ärzte")
    groups = f"/v1/workspaces/{workspace}/groups"
    refused(await ada.http.post(groups, json={"name": "äRZTE"}), 409, "group_exists")
    other = (await ada.http.post(groups, json={"name": "Other"})).json()["id"]
    refused(await ada.http.patch(f"{groups}/{other}", json={"name": "ÄRZTE"}), 409, "group_exists")
    assert (await ada.http.patch(path, json={"name": "ÄRZTE"})).status_code == 200
    await ada.http.delete(path)
    assert (await ada.http.post(groups, json={"name": "ärzte"})).status_code == 201
    answers = await asyncio.gather(*(ada.http.post(groups, json={"name": "Same"}) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]


async def test_joining_and_leaving_a_group_is_told_once_and_announced_when_it_lowers(team, told, revoked, facts):
    ada, bob, workspace, path, group = await team()
    for _ in range(2):  # again changes nothing
        assert (await ada.http.put(f"{path}/members/{bob.id}")).status_code == 204
    [listed] = (await bob.http.get(f"{path}/members")).json()["items"]
    assert listed.items() >= {"user_id": str(bob.id), "role": "editor", "suspended": False}.items()
    assert await revoked(f"group:{group}") == set()
    fact = {"user_id": str(bob.id), "group_id": group, "workspace_id": workspace}
    assert (await facts(bob.id))["group_members"] == [{**fact, "removed": False, "version": 2}]
    for _ in range(2):
        assert (await ada.http.delete(f"{path}/members/{bob.id}")).status_code == 204
    assert await revoked(f"group:{group}") == {f"group:{group}:{bob.id}:3"}
    assert (await facts(bob.id))["group_members"] == [{**fact, "removed": True, "version": 3}]
    changes = [(version, data["added"], data["removed"]) for _, version, data in (await told(group))[1:]]
    assert changes == [(2, [str(bob.id)], []), (3, [], [str(bob.id)])]
    assert (await ada.http.get(path)).json()["version"] == 3


async def test_only_living_members_and_guests_join_whether_others_exist_or_not(team, people, refused, told):
    ada, bob, workspace, path, group = await team()
    guest, stranger, suspended = [await people.person(name) for name in ("Guest", "Stranger", "Suspended")]
    await people.join(workspace, guest, "guest")
    await people.join(workspace, suspended, "editor")
    await ada.http.post(f"/v1/workspaces/{workspace}/members/{suspended.id}/suspend")
    outside = [str(stranger.id), str(uuid4()), str(suspended.id)]
    for user in outside:
        answer = await ada.http.put(f"{path}/members/{user}")
        assert refused(answer, 422, "not_a_member")["user_ids"] == [user]
    many = [str(uuid4()) for _ in range(30)]
    answer = await ada.http.patch(f"{path}/members", json={"add": [*outside, str(bob.id), *many]})
    assert refused(answer, 422, "not_a_member")["user_ids"] == [*outside, *many[:17]]
    assert (await ada.http.get(f"{path}/members")).json()["items"] == []
    assert (await ada.http.delete(f"{path}/members/{stranger.id}")).status_code == 204
    changed = await ada.http.patch(
        f"{path}/members", json={"add": [str(guest.id)] * 2 + [str(bob.id)], "remove": outside}
    )
    assert changed.json() == {"added": 2, "removed": 0, "version": 2}
    assert len(await told(group)) == 2
    both = {"add": [str(bob.id)], "remove": [str(bob.id)]}
    refused(await ada.http.patch(f"{path}/members", json=both), 422, "validation_error")


async def test_a_group_of_another_workspace_is_none_of_this_one(team, people, refused):
    ada, _, workspace, _, _ = await team()
    eve, _, _, hers, her_group = await team()
    for group in (her_group, uuid4()):
        path = f"/v1/workspaces/{workspace}/groups/{group}"
        for method, end, body in (
            ("GET", "", None),
            ("PATCH", "", {"name": "Mine"}),
            ("DELETE", "", None),
            ("GET", "/members", None),
            ("PATCH", "/members", {"add": [str(ada.id)]}),
            ("PUT", f"/members/{ada.id}", None),
            ("DELETE", f"/members/{eve.id}", None),
        ):
            refused(await ada.http.request(method, path + end, json=body), 404, "group_not_found")
    refused(await ada.http.get(hers), 404, "workspace_not_found")
    assert (await eve.http.get(hers)).json()["version"] == 1


@pytest.mark.parametrize(("role", "status"), [("admin", 204), ("editor", 403), ("viewer", 403), ("guest", 403)])
async def test_admins_change_groups_members_read_them(team, role, status):
    _, bob, workspace, path, _ = await team(role)
    assert (await bob.http.put(f"{path}/members/{bob.id}")).status_code == status
    reads = [await bob.http.get(end) for end in (path, f"{path}/members", f"/v1/workspaces/{workspace}/groups")]
    assert {answer.status_code for answer in reads} == {403 if role == "guest" else 200}


async def test_groups_and_their_members_come_in_pages(team, people):
    ada, bob, workspace, path, _ = await team(name="c")
    groups = f"/v1/workspaces/{workspace}/groups"
    for name in ("b", "a"):
        await ada.http.post(groups, json={"name": name})
    first = (await ada.http.get(groups, params={"limit": 2})).json()
    second = (await ada.http.get(groups, params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert [item["name"] for item in first["items"] + second["items"]] == ["a", "b", "c"]
    await ada.http.patch(f"{path}/members", json={"add": [str(ada.id), str(bob.id)]})
    first = (await ada.http.get(f"{path}/members", params={"limit": 1})).json()
    second = (await ada.http.get(f"{path}/members", params={"limit": 1, "cursor": first["next_cursor"]})).json()
    users = [item["user_id"] for item in first["items"] + second["items"]]
    assert (users, second["next_cursor"]) == (sorted([str(ada.id), str(bob.id)]), None)


async def test_ten_thousand_join_and_leave_at_once(team, owner, told, revoked, capsys):
    ada, _, workspace, path, group = await team()
    users = [str(uuid7()) for _ in range(10_000)]
    await owner(
        "INSERT INTO auth_gateway.account (id, email, display_name, password_hash, version) "
        "SELECT id, id || '@example.org', 'Many', 'x', 1 FROM unnest(%s::uuid[]) AS id",
        users,
    )
    await owner(
        "INSERT INTO auth_gateway.member (workspace_id, user_id, role, version, removed) "
        "SELECT %s, id, 'viewer', 1, false FROM unnest(%s::uuid[]) AS id",
        workspace,
        users,
    )
    took = []
    for body, expected in (
        ({"add": users}, {"added": 10_000, "removed": 0, "version": 11}),
        ({"remove": users}, {"added": 0, "removed": 10_000, "version": 21}),
    ):
        started = time.perf_counter()
        answer = await ada.http.patch(f"{path}/members", json=body)
        took.append(time.perf_counter() - started)
        assert answer.json() == expected
    with capsys.disabled():
        print(f"\n10,000 joined in {took[0]:.2f} s, left in {took[1]:.2f} s")  # noqa: T201 - a measurement
    events = await told(group)
    assert [version for _, version, _ in events] == list(range(1, 22))
    assert {len(data["added"]) + len(data["removed"]) for _, _, data in events[1:]} == {MAX_MEMBERS_TOLD}
    removed = {f"group:{group}:{user}:{version}" for _, version, data in events[11:] for user in data["removed"]}
    assert await revoked(f"group:{group}") == removed
    pairs = await owner("SELECT user_id::text, version FROM auth_gateway.group_member WHERE group_id = %s", group)
    assert {f"group:{group}:{user}:{version}" for user, version in pairs} == removed
    too_many = await ada.http.patch(f"{path}/members", json={"add": [*users, str(ada.id)]})
    assert too_many.status_code == 422
    assert max(took) < 5  # alone it takes a second; here three services share the process


async def test_a_change_that_joins_and_leaves_is_told_in_pieces_that_fit_together(team, owner, told, monkeypatch):
    monkeypatch.setattr("auth_gateway.service.memberships.MAX_MEMBERS_TOLD", 2)
    ada, bob, workspace, path, group = await team()
    users = [str(uuid7()) for _ in range(3)]
    await owner(
        "INSERT INTO auth_gateway.account (id, email, display_name, password_hash, version) "
        "SELECT id, id || '@example.org', 'Many', 'x', 1 FROM unnest(%s::uuid[]) AS id",
        users,
    )
    await owner(
        "INSERT INTO auth_gateway.member (workspace_id, user_id, role, version, removed) "
        "SELECT %s, id, 'viewer', 1, false FROM unnest(%s::uuid[]) AS id",
        workspace,
        users,
    )
    await ada.http.patch(f"{path}/members", json={"add": [str(ada.id), str(bob.id)]})
    changed = await ada.http.patch(f"{path}/members", json={"add": users, "remove": [str(bob.id), str(ada.id)]})
    assert changed.json() == {"added": 3, "removed": 2, "version": 5}
    changes = [(version, data["added"], data["removed"]) for _, version, data in (await told(group))[2:]]
    assert changes == [(3, users[:2], []), (4, users[2:], [str(bob.id)]), (5, [], [str(ada.id)])]
    pairs = await owner(
        "SELECT user_id::text, removed, version FROM auth_gateway.group_member WHERE group_id = %s", group
    )
    expected = {(users[0], False, 3), (users[1], False, 3), (users[2], False, 4), (str(bob.id), True, 4)}
    assert set(pairs) == {*expected, (str(ada.id), True, 5)}


async def test_deleting_a_group_first_tells_its_members_as_removed(team, told, revoked, facts):
    ada, bob, _, path, group = await team()
    await ada.http.patch(f"{path}/members", json={"add": [str(ada.id), str(bob.id)]})
    assert (await ada.http.delete(path)).status_code == 204
    events = await told(group)
    assert [(kind, version) for kind, version, _ in events][2:] == [("changed", 3), ("deleted", 4)]
    assert set(events[2][2]["removed"]) == {str(ada.id), str(bob.id)}
    assert await revoked(f"group:{group}") == {f"group:{group}:{person.id}:3" for person in (ada, bob)}
    assert [(pair["removed"], pair["version"]) for pair in (await facts(bob.id))["group_members"]] == [(True, 3)]


@pytest.mark.parametrize("role", ["admin", "guest"])
@pytest.mark.parametrize("way", ["removed", "leaves"])
async def test_who_ends_a_membership_is_in_no_group_any_more(team, people, told, facts, revoked, owner, role, way):
    ada, bob, workspace, path, group = await team(role)
    other = (await ada.http.post(f"/v1/workspaces/{workspace}/groups", json={"name": "Other"})).json()["id"]
    groups = (group, other)
    for one in groups:
        await ada.http.put(f"/v1/workspaces/{workspace}/groups/{one}/members/{bob.id}")
    if way == "removed":
        answer = await ada.http.delete(f"/v1/workspaces/{workspace}/members/{bob.id}")
    else:
        answer = await bob.http.post(f"/v1/workspaces/{workspace}/leave")
    assert answer.status_code == 204, answer.text
    for one in groups:
        assert [data["removed"] for _, _, data in (await told(one))[2:]] == [[str(bob.id)]]
        assert await revoked(f"group:{one}") == {f"group:{one}:{bob.id}:3"}
    assert {(pair["removed"], pair["version"]) for pair in (await facts(bob.id))["group_members"]} == {(True, 3)}
    await owner("UPDATE auth_gateway.member SET removed = false WHERE user_id = %s", bob.id)
    assert (await ada.http.get(f"{path}/members")).json()["items"] == []


async def test_a_guest_who_leaves_while_being_added_is_not_left_in_the_group(team, facts):
    for _ in range(4):
        ada, bob, workspace, path, _ = await team("guest")
        added, left = await asyncio.gather(
            ada.http.put(f"{path}/members/{bob.id}"), bob.http.post(f"/v1/workspaces/{workspace}/leave")
        )
        assert left.status_code == 204
        assert added.status_code in (204, 422)
        known = await facts(bob.id)
        assert [member["removed"] for member in known["members"]] == [True]
        assert all(pair["removed"] for pair in known["group_members"])
