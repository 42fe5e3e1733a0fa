"""Guests, leaving, handing over, suspending: what a membership gives while it lasts."""

import asyncio

import pytest
from psycopg import errors as pg

from common.contracts.auth_gateway import membership_id


@pytest.fixture
async def team(people):
    """A workspace of Ada's with one more member of any role."""

    async def make(role):
        ada, other = await people.person(), await people.person("Bob")
        workspace = await people.workspace(ada)
        await people.join(workspace, other, role)
        return ada, other, f"/v1/workspaces/{workspace}", workspace

    return make


async def rows(connection, statement, *parameters):
    return await (await connection.execute(statement, parameters)).fetchall()


# Guests


async def test_a_guest_sees_the_workspace_and_nothing_else_of_it(team, refused, facts):
    ada, bob, path, workspace = await team("guest")
    read = (await bob.http.get(path)).json()
    assert (read["role"], {name for name, may in read["abilities"].items() if may}) == ("guest", {"enter"})
    assert [item["id"] for item in (await bob.http.get("/v1/workspaces")).json()["items"]] == [workspace]
    for end in ("members", "invitations", "groups"):
        refused(await bob.http.get(f"{path}/{end}"), 403, "role_insufficient")
    refused(await bob.http.patch(path, json={"name": "Mine"}), 403, "role_insufficient")
    refused(await bob.http.get(f"/v1/users/{ada.id}"), 404, "user_not_found")
    assert (await ada.http.get(f"/v1/users/{bob.id}")).status_code == 200
    listed = {item["user_id"]: item["role"] for item in (await ada.http.get(f"{path}/members")).json()["items"]}
    assert listed == {str(ada.id): "owner", str(bob.id): "guest"}
    assert [(fact["role"], fact["removed"]) for fact in (await facts(bob.id))["members"]] == [("guest", False)]


async def test_row_level_security_shows_a_guest_no_more(team, runtime):
    ada, bob, path, workspace = await team("guest")
    await ada.http.post(f"{path}/groups", json={"name": "Without Bob"})
    await ada.http.post(f"{path}/invitations", json={"email": f"x{bob.email}"})
    async with runtime(bob.id) as connection:
        assert await rows(connection, "SELECT id::text FROM auth_gateway.workspace") == [(workspace,)]
        assert await rows(connection, "SELECT user_id FROM auth_gateway.member") == [(bob.id,)]
        assert await rows(connection, "SELECT id FROM auth_gateway.account") == [(bob.id,)]
        for table in ("invitation", "user_group", "group_member"):
            assert await rows(connection, f"SELECT 1 FROM auth_gateway.{table}") == [], table
        for statement in (
            "UPDATE auth_gateway.workspace SET name = 'x'",
            "UPDATE auth_gateway.member SET role = 'owner'",
            "UPDATE auth_gateway.member SET removed = true, suspended = true",
        ):
            with pytest.raises(pg.InsufficientPrivilege, match="row-level security"):
                await connection.execute(statement)
    async with runtime(ada.id) as connection:
        assert len(await rows(connection, "SELECT id FROM auth_gateway.account")) == 2


async def test_a_guest_is_invited_joins_and_may_leave(team, people, mailed_secret, refused, facts):
    ada, _, path, workspace = await team("viewer")
    guest = await people.person("Guest")
    invited = await ada.http.post(f"{path}/invitations", json={"email": guest.email, "role": "guest"})
    assert (invited.status_code, invited.json()["role"]) == (201, "guest")
    for _ in range(2):
        joined = await guest.http.post(f"/v1/invitations/{mailed_secret(guest.email)}/accept")
        assert (joined.status_code, joined.json()["role"]) == (200, "guest")
    [invitation] = (await ada.http.get(f"{path}/invitations")).json()["items"]
    assert invitation["accepted_at"]
    raised = await ada.http.patch(f"{path}/members/{guest.id}", json={"role": "commenter"})
    assert raised.json()["role"] == "commenter"
    assert (await ada.http.patch(f"{path}/members/{guest.id}", json={"role": "guest"})).json()["role"] == "guest"
    assert (await guest.http.post(f"{path}/leave")).status_code == 204
    refused(await guest.http.get(path), 404, "workspace_not_found")
    assert [(fact["workspace_id"], fact["removed"]) for fact in (await facts(guest.id))["members"]] == [
        (workspace, True)
    ]


# Leaving and handing over


async def test_leaving_ends_the_membership_unless_it_is_the_last_owners(team, refused, told):
    ada, bob, path, workspace = await team("editor")
    refused(await ada.http.post(f"{path}/leave"), 409, "last_owner")
    assert (await bob.http.post(f"{path}/leave")).status_code == 204
    refused(await bob.http.post(f"{path}/leave"), 404, "workspace_not_found")
    [(_, version, data)] = await told(membership_id(workspace, bob.id))
    assert (version, data["removed"], data["suspended"]) == (2, True, False)


async def test_of_two_owners_leaving_at_once_one_stays(team):
    for _ in range(5):
        ada, bob, path, _ = await team("owner")
        answers = await asyncio.gather(*(person.http.post(f"{path}/leave") for person in (ada, bob)))
        assert sorted(answer.status_code for answer in answers) == [204, 409]


async def test_handing_over_makes_the_other_owner_and_oneself_admin(team, people, refused, told, mailed_secret):
    ada, bob, path, workspace = await team("viewer")
    stranger = await people.person("Eve")
    await ada.http.post(f"{path}/invitations", json={"email": stranger.email, "role": "owner"})
    refused(await ada.http.post(f"{path}/transfer", json={"user_id": str(ada.id)}), 409, "own_membership")
    refused(await ada.http.post(f"{path}/transfer", json={"user_id": str(stranger.id)}), 404, "member_not_found")
    refused(await bob.http.post(f"{path}/transfer", json={"user_id": str(ada.id)}), 403, "role_insufficient")
    answer = await ada.http.post(f"{path}/transfer", json={"user_id": str(bob.id)})
    assert (answer.status_code, answer.json()["role"]) == (200, "admin")
    roles = {item["user_id"]: item["role"] for item in (await bob.http.get(f"{path}/members")).json()["items"]}
    assert roles == {str(ada.id): "admin", str(bob.id): "owner"}
    assert (await told(membership_id(workspace, bob.id)))[-1][2]["role"] == "owner"
    assert (await told(membership_id(workspace, ada.id)))[-1][2]["role"] == "admin"
    accepted = await stranger.http.post(f"/v1/invitations/{mailed_secret(stranger.email)}/accept")
    refused(accepted, 410, "invitation_gone")  # an admin could not invite an owner
    refused(await ada.http.post(f"{path}/transfer", json={"user_id": str(bob.id)}), 403, "role_insufficient")


async def test_handing_over_to_somebody_just_being_removed_leaves_an_owner(team, people, owner):
    for _ in range(5):
        ada, bob, path, workspace = await team("editor")
        cy = await people.person("Cy")
        await people.join(workspace, cy, "admin")
        handed, removed = await asyncio.gather(
            ada.http.post(f"{path}/transfer", json={"user_id": str(bob.id)}),
            cy.http.delete(f"{path}/members/{bob.id}"),
        )
        assert (handed.status_code, removed.status_code) in ((200, 403), (404, 204))
        living = await owner(
            "SELECT user_id FROM auth_gateway.member WHERE workspace_id = %s AND role = 'owner' AND NOT removed",
            workspace,
        )
        assert living == [(bob.id if handed.status_code == 200 else ada.id,)]


# Suspending


async def test_a_suspended_member_is_out_and_comes_back_as_before(team, refused, told, revoked, facts, people):
    ada, bob, path, workspace = await team("admin")
    document = await people.document(ada, workspace)
    group = (await ada.http.post(f"{path}/groups", json={"name": "All"})).json()["id"]
    await ada.http.put(f"{path}/groups/{group}/members/{bob.id}")
    assert (await bob.http.get(f"/v1/documents/{document['id']}")).status_code == 200
    for _ in range(2):  # again changes nothing
        suspended = await ada.http.post(f"{path}/members/{bob.id}/suspend")
        assert suspended.json().items() >= {"role": "admin", "suspended": True, "email": bob.email}.items()
    refused(await bob.http.get(path), 404, "workspace_not_found")
    refused(await bob.http.post(f"{path}/leave"), 404, "workspace_not_found")
    assert (await bob.http.get("/v1/workspaces")).json()["items"] == []
    async with asyncio.timeout(1):
        while (await bob.http.get(f"/v1/documents/{document['id']}")).status_code != 404:
            await asyncio.sleep(0.01)
    listed = {item["user_id"]: item["suspended"] for item in (await ada.http.get(f"{path}/members")).json()["items"]}
    assert listed == {str(ada.id): False, str(bob.id): True}
    known = await facts(bob.id)
    assert [(fact["role"], fact["removed"], fact["version"]) for fact in known["members"]] == [("admin", True, 2)]
    assert [pair["removed"] for pair in known["group_members"]] == [False]
    assert await revoked(f"member:{workspace}:{bob.id}") == {f"member:{workspace}:{bob.id}:2"}
    for _ in range(2):
        resumed = await ada.http.post(f"{path}/members/{bob.id}/resume")
        assert (resumed.status_code, resumed.json()["suspended"], resumed.json()["role"]) == (200, False, "admin")
    assert (await bob.http.get(path)).json()["role"] == "admin"
    events = [
        (version, data["removed"], data["suspended"])
        for _, version, data in await told(membership_id(workspace, bob.id))
    ]
    assert events == [(2, True, True), (3, False, False)]


async def test_the_internal_fact_of_a_suspended_membership_says_removed(team, fleet):
    ada, bob, path, workspace = await team("editor")
    await ada.http.post(f"{path}/members/{bob.id}/suspend")
    client = fleet["documents"].app.state.platform.client
    fact = await client.get("auth-gateway", f"/internal/workspaces/{workspace}/members/{bob.id}")
    assert (fact["removed"], fact["version"]) == (True, 2)


async def test_who_may_suspend_whom(team, people, refused):
    ada, admin, path, workspace = await team("admin")
    editor, owner = await people.person("Editor"), await people.person("Owner")
    await people.join(workspace, editor, "editor")
    await people.join(workspace, owner, "owner")
    refused(await editor.http.post(f"{path}/members/{admin.id}/suspend"), 403, "role_insufficient")
    refused(await admin.http.post(f"{path}/members/{ada.id}/suspend"), 403, "role_insufficient")
    refused(await admin.http.post(f"{path}/members/{admin.id}/suspend"), 409, "own_membership")
    refused(await ada.http.post(f"{path}/members/{ada.id}/suspend"), 409, "own_membership")
    stranger = await people.person("Eve")
    refused(await ada.http.post(f"{path}/members/{stranger.id}/suspend"), 404, "member_not_found")
    assert (await admin.http.post(f"{path}/members/{editor.id}/suspend")).status_code == 200
    assert (await ada.http.post(f"{path}/members/{owner.id}/suspend")).status_code == 200
    refused(await admin.http.post(f"{path}/members/{owner.id}/resume"), 403, "role_insufficient")
    refused(await ada.http.post(f"{path}/leave"), 409, "last_owner")  # a suspended owner is none
    refused(await ada.http.post(f"{path}/transfer", json={"user_id": str(owner.id)}), 404, "member_not_found")


async def test_of_two_owners_suspending_each_other_one_stays(team):
    for _ in range(4):
        ada, bob, path, _ = await team("owner")
        answers = await asyncio.gather(
            ada.http.post(f"{path}/members/{bob.id}/suspend"), bob.http.post(f"{path}/members/{ada.id}/suspend")
        )
        assert sorted(answer.status_code for answer in answers) == [200, 404]


async def test_a_suspended_member_can_be_changed_and_removed(team, told, refused, facts):
    ada, bob, path, workspace = await team("owner")
    await ada.http.post(f"{path}/members/{bob.id}/suspend")
    changed = await ada.http.patch(f"{path}/members/{bob.id}", json={"role": "viewer"})
    assert (changed.json()["role"], changed.json()["suspended"]) == ("viewer", True)
    refused(await bob.http.get(path), 404, "workspace_not_found")
    refused(await ada.http.post(f"{path}/invitations", json={"email": bob.email}), 409, "already_member")
    assert (await ada.http.delete(f"{path}/members/{bob.id}")).status_code == 204
    refused(await ada.http.post(f"{path}/members/{bob.id}/resume"), 404, "member_not_found")
    events = [
        (data["role"], data["removed"], data["suspended"])
        for _, _, data in await told(membership_id(workspace, bob.id))
    ]
    assert events == [("owner", True, True), ("viewer", True, True), ("viewer", True, False)]
    assert (await ada.http.post(f"{path}/invitations", json={"email": bob.email})).status_code == 201


async def test_suspending_withdraws_the_invitations_somebody_made(team, people, mailed_secret, refused):
    ada, bob, path, _ = await team("admin")
    friend = await people.person("Friend")
    await bob.http.post(f"{path}/invitations", json={"email": friend.email, "role": "admin"})
    await ada.http.post(f"{path}/members/{bob.id}/suspend")
    refused(await friend.http.post(f"/v1/invitations/{mailed_secret(friend.email)}/accept"), 410, "invitation_gone")


async def test_an_invitation_does_not_resume_a_suspended_membership(team, people, mailed_secret, refused, owner):
    for at_once in (False, True, True, True):
        ada, bob, path, workspace = await team("viewer")
        await owner("UPDATE auth_gateway.member SET removed = true WHERE user_id = %s", bob.id)
        await ada.http.post(f"{path}/invitations", json={"email": bob.email, "role": "admin"})
        await owner("UPDATE auth_gateway.member SET removed = false WHERE user_id = %s", bob.id)
        accept = f"/v1/invitations/{mailed_secret(bob.email)}/accept"
        if at_once:
            suspended, accepted = await asyncio.gather(
                ada.http.post(f"{path}/members/{bob.id}/suspend"), bob.http.post(accept)
            )
            assert accepted.status_code in (200, 404, 410), accepted.text
        else:
            suspended = await ada.http.post(f"{path}/members/{bob.id}/suspend")
            refused(await bob.http.post(accept), 410, "invitation_gone")
        assert suspended.status_code == 200
        refused(await bob.http.get(path), 404, "workspace_not_found")
        [state] = await owner(
            "SELECT removed, suspended FROM auth_gateway.member WHERE user_id = %s AND workspace_id = %s",
            bob.id,
            workspace,
        )
        assert state == (True, True)


async def test_row_level_security_shows_a_suspended_member_nothing(team, runtime):
    ada, bob, path, _ = await team("admin")
    group = (await ada.http.post(f"{path}/groups", json={"name": "All"})).json()["id"]
    await ada.http.put(f"{path}/groups/{group}/members/{bob.id}")
    await ada.http.post(f"{path}/members/{bob.id}/suspend")
    async with runtime(bob.id) as connection:
        assert await rows(connection, "SELECT auth_gateway.my_roots(), auth_gateway.my_workspaces()") == [([], [])]
        for table in ("workspace", "user_group", "invitation"):
            assert await rows(connection, f"SELECT 1 FROM auth_gateway.{table}") == [], table
        assert await rows(connection, "SELECT user_id FROM auth_gateway.member") == [(bob.id,)]
        assert await rows(connection, "SELECT id FROM auth_gateway.account") == [(bob.id,)]
        for statement in (
            "UPDATE auth_gateway.member SET suspended = false, removed = false",
            "UPDATE auth_gateway.member SET suspended = false",
            "UPDATE auth_gateway.member SET role = 'owner'",
            "UPDATE auth_gateway.group_member SET version = 99",
        ):
            with pytest.raises(pg.InsufficientPrivilege, match="row-level security"):
                await connection.execute(statement)
