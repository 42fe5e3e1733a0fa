"""Settings of workspaces, joining by domain, deleting and restoring."""

import asyncio
import secrets
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import pytest

DEFAULTS = {"allowed_domains": [], "trash_days": 30, "mfa_required": False, "ai_models": None}


@pytest.fixture
async def colleague(people, owner):
    """Somebody with an address of this domain, proven or not."""

    async def make(domain, *, verified=True):
        person = await people.person("Colleague")
        person.email = f"c-{person.id.hex}@{domain}"
        await owner(
            "UPDATE auth_gateway.account SET email = %s, email_verified_at = CASE WHEN %s THEN now() END WHERE id = %s",
            person.email,
            verified,
            person.id,
        )
        return person

    return make


@pytest.fixture
async def open_to(people):
    """A workspace of Ada's that lets in who has an address of a domain nobody else uses."""

    async def make():
        ada, domain = await people.person(), f"{secrets.token_hex(6)}.example.com"
        workspace = await people.workspace(ada)
        answer = await ada.http.patch(f"/v1/workspaces/{workspace}", json={"allowed_domains": [domain]})
        assert answer.status_code == 200, answer.text
        return ada, domain, workspace

    return make


# Settings


async def test_settings_are_changed_one_by_one_and_shown_to_all(people, told):
    ada, bob = await people.person(), await people.person("Bob")
    workspace = await people.workspace(ada)
    await people.join(workspace, bob, "viewer")
    path = f"/v1/workspaces/{workspace}"
    assert (await bob.http.get(path)).json().items() >= {"trash_days": 30, "mfa_required": False}.items()
    assert {name: (await bob.http.get(path)).json()[name] for name in DEFAULTS} == DEFAULTS
    expected = {
        "allowed_domains": ["example.com", "xn--bcher-kva.example"],
        "trash_days": 365,
        "mfa_required": True,
        "ai_models": ["gpt-x", "claude-y"],
    }
    for version, (name, value) in enumerate(expected.items(), 2):
        for _ in range(2):  # again changes nothing
            changed = await ada.http.patch(path, json={name: value})
            assert (changed.status_code, changed.json()["version"]) == (200, version), changed.text
    assert {name: (await bob.http.get(path)).json()[name] for name in DEFAULTS} == expected
    both = await ada.http.patch(path, json={"ai_models": None, "name": "New", "trash_days": 1})
    assert both.json().items() >= {"ai_models": None, "name": "New", "trash_days": 1, "mfa_required": True}.items()
    assert (await ada.http.patch(path, json={})).json()["version"] == 6
    events = [(kind, version, data["name"], data["ai_models"]) for kind, version, data in await told(workspace)]
    assert events == [
        ("created", 1, "Notes", None), *(("updated", n, "Notes", None) for n in range(2, 5)),
        ("updated", 5, "Notes", ["gpt-x", "claude-y"]), ("updated", 6, "New", None),
    ]  # fmt: skip


async def test_models_are_told_whole_with_whatever_changes_and_to_who_asks(people, told, fleet):
    ada = await people.person()
    workspace = await people.workspace(ada)
    path, models = f"/v1/workspaces/{workspace}", ["gpt-x"]
    revocations = fleet["documents"].app.state.platform.revocations
    assert (await ada.http.patch(path, json={"name": "A"})).status_code == 200
    assert (await ada.http.patch(path, json={"ai_models": models})).status_code == 200
    async with asyncio.timeout(10):
        while revocations.workspaces.get(UUID(workspace)) != 3:  # a copy that is older asks
            await asyncio.sleep(0.01)
    client = fleet["documents"].app.state.platform.client
    facts = await client.get("auth-gateway", f"/internal/users/{ada.id}/access", acting_user=ada.id)
    assert [(one["version"], one["ai_models"]) for one in facts["workspaces"]] == [(3, models)]
    assert (await ada.http.patch(path, json={"name": "B"})).status_code == 200
    assert revocations.workspaces[UUID(workspace)] == 3
    assert (await ada.http.delete(path, params={"confirm": "B"})).status_code == 204
    assert (await ada.http.post(f"{path}/restore")).status_code == 200
    events = [(kind, data["ai_models"]) for kind, _, data in await told(workspace)]
    assert events == [
        ("created", None), ("updated", None), ("updated", models), ("updated", models), ("deleted", models),
        ("restored", models),
    ]  # fmt: skip


async def test_domains_are_kept_in_lower_case(people):
    ada = await people.person()
    path = f"/v1/workspaces/{await people.workspace(ada)}"
    changed = await ada.http.patch(path, json={"allowed_domains": ["Example.COM", "a-b.example.org"]})
    assert changed.json()["allowed_domains"] == ["example.com", "a-b.example.org"]


@pytest.mark.parametrize(
    "body",
    [
        {"name": ""},
        {"name": None},
        {"trash_days": 0},
        {"trash_days": 366},
        {"trash_days": None},
        {"mfa_required": None},
        {"allowed_domains": None},
        *({"allowed_domains": [domain]} for domain in ("gmail.com", "Outlook.com", "x", "a@b.com", "-a.com", "a..com")),
        *({"allowed_domains": [domain]} for domain in (".com", "a.com.", "a b.com", "*.com", "ä.com", "a.com\0", "")),
        {"allowed_domains": [f"d{n}.com" for n in range(21)]},
        {"ai_models": [f"m{n}" for n in range(51)]},
        {"ai_models": [""]},
        {"role": "owner"},
    ],
)
async def test_what_is_no_setting_is_refused(people, refused, body):
    ada = await people.person()
    workspace = await people.workspace(ada)
    refused(await ada.http.patch(f"/v1/workspaces/{workspace}", json=body), 422, "validation_error")


async def test_only_owners_say_who_may_join_and_how_members_sign_in(people, refused):
    ada, bob = await people.person(), await people.person("Bob")
    workspace = await people.workspace(ada)
    await people.join(workspace, bob, "admin")
    path = f"/v1/workspaces/{workspace}"
    for body in ({"allowed_domains": ["example.com"]}, {"mfa_required": True, "trash_days": 7}):
        refused(await bob.http.patch(path, json=body), 403, "role_insufficient")
    same = await bob.http.patch(path, json={**DEFAULTS, "trash_days": 7})
    assert (same.status_code, same.json()["trash_days"]) == (200, 7)


# Joining by domain


async def test_who_has_proven_an_address_of_the_domain_may_join(open_to, colleague, told, refused, owner):
    ada, domain, workspace = await open_to()
    carl = await colleague(domain)
    joinable = (await carl.http.get("/v1/workspaces/joinable")).json()
    assert joinable == {"items": [{"id": workspace, "name": "Notes"}], "next_cursor": None}
    refused(await carl.http.get(f"/v1/workspaces/{workspace}"), 404, "workspace_not_found")
    answers = await asyncio.gather(*(carl.http.post(f"/v1/workspaces/{workspace}/join") for _ in range(3)))
    assert [(answer.status_code, answer.json()["role"]) for answer in answers] == [(200, "editor")] * 3
    assert (await carl.http.get("/v1/workspaces/joinable")).json()["items"] == []
    await ada.http.patch(f"/v1/workspaces/{workspace}/members/{carl.id}", json={"role": "viewer"})
    again = await carl.http.post(f"/v1/workspaces/{workspace}/join")
    assert (again.status_code, again.json()["role"]) == (200, "viewer")


async def test_others_learn_nothing_and_the_unproven_must_prove(open_to, colleague, people, refused, runtime):
    ada, domain, workspace = await open_to()
    unproven, other, below = [
        await colleague(domain, verified=False),
        await colleague(f"x{domain}"),
        await colleague(f"sub.{domain}"),
    ]
    refused(await unproven.http.post(f"/v1/workspaces/{workspace}/join"), 403, "email_not_verified")
    assert (await unproven.http.get("/v1/workspaces/joinable")).json()["items"] == []
    for person in (other, below):
        for target in (workspace, uuid4()):
            refused(await person.http.post(f"/v1/workspaces/{target}/join"), 404, "workspace_not_found")
        assert (await person.http.get("/v1/workspaces/joinable")).json()["items"] == []
    carl = await colleague(domain)
    for person in (unproven, other, carl):  # no other way in, and to no other role
        async with runtime(person.id) as connection:
            role = "admin" if person is carl else "editor"
            with pytest.raises(Exception, match="row-level security"):
                await connection.execute(
                    "INSERT INTO auth_gateway.member (workspace_id, user_id, role, version, removed) "
                    "VALUES (%s, %s, %s, 1, false)",
                    (workspace, person.id, role),
                )
    assert (await ada.http.patch(f"/v1/workspaces/{workspace}", json={"allowed_domains": []})).status_code == 200
    refused(await carl.http.post(f"/v1/workspaces/{workspace}/join"), 404, "workspace_not_found")


async def test_the_suspended_do_not_join_again(open_to, colleague, refused):
    ada, domain, workspace = await open_to()
    carl = await colleague(domain)
    path = f"/v1/workspaces/{workspace}"
    await carl.http.post(f"{path}/join")
    await ada.http.post(f"{path}/members/{carl.id}/suspend")
    refused(await carl.http.post(f"{path}/join"), 404, "workspace_not_found")
    assert (await carl.http.get("/v1/workspaces/joinable")).json()["items"] == []
    await ada.http.delete(f"{path}/members/{carl.id}")
    assert (await carl.http.post(f"{path}/join")).status_code == 200


# Deleting and restoring


async def test_a_deleted_workspace_is_closed_to_everybody_and_comes_back(
    open_to, colleague, people, told, revoked, facts, refused, mailed_secret, visitor, runtime
):
    ada, domain, workspace = await open_to()
    bob, guest, carl, di = [
        await people.person("Bob"),
        await people.person("Guest"),
        await colleague(domain),
        await people.person("Di"),
    ]
    path = f"/v1/workspaces/{workspace}"
    await people.join(workspace, bob, "admin")
    await people.join(workspace, guest, "guest")
    await ada.http.post(f"{path}/invitations", json={"email": di.email})
    refused(await bob.http.delete(path, params={"confirm": "Notes"}), 403, "role_insufficient")
    for wrong in ({}, {"confirm": "notes"}, {"confirm": ""}):
        refused(await ada.http.delete(path, params=wrong), 422, "confirmation_missing")
    assert (await ada.http.delete(path, params={"confirm": "Notes"})).status_code == 204

    for person in (ada, bob, guest):
        refused(await person.http.get(path), 404, "workspace_not_found")
        refused(await person.http.post(f"{path}/leave"), 404, "workspace_not_found")
        refused(await person.http.get(f"{path}/members"), 404, "workspace_not_found")
        refused(await person.http.delete(path, params={"confirm": "Notes"}), 404, "workspace_not_found")
        assert (await person.http.get("/v1/workspaces")).json()["items"] == []
        known = await facts(person.id)
        assert [(fact["version"], fact["removed"]) for fact in known["workspaces"]] == [(3, True)]
    refused(await ada.http.get(f"/v1/users/{bob.id}"), 404, "user_not_found")
    refused(await carl.http.post(f"{path}/join"), 404, "workspace_not_found")
    secret = mailed_secret(di.email)
    refused(await visitor().get(f"/v1/invitations/{secret}"), 404, "invitation_not_found")
    refused(await di.http.post(f"/v1/invitations/{secret}/accept"), 404, "invitation_not_found")
    async with runtime(bob.id) as connection:
        cursor = await connection.execute("SELECT 1 FROM auth_gateway.workspace")
        assert await cursor.fetchall() == []
    assert await revoked(f"workspace:{workspace}") == {f"workspace:{workspace}:3"}

    [deleted] = (await ada.http.get("/v1/workspaces", params={"state": "deleted"})).json()["items"]
    gone, purged = (datetime.fromisoformat(deleted[name]) for name in ("deleted_at", "purge_at"))
    assert (deleted["id"], purged - gone) == (workspace, timedelta(days=30))
    assert (await bob.http.get("/v1/workspaces", params={"state": "deleted"})).json()["items"] == []
    for person in (bob, guest, carl):
        refused(await person.http.post(f"{path}/restore"), 404, "workspace_not_found")
    for _ in range(2):  # again changes nothing
        restored = await ada.http.post(f"{path}/restore")
        assert (restored.status_code, restored.json()["version"], restored.json()["purge_at"]) == (200, 4, None)
    refused(await bob.http.post(f"{path}/restore"), 403, "role_insufficient")
    assert (await bob.http.get(path)).json()["role"] == "admin"
    assert [fact["removed"] for fact in (await facts(guest.id))["workspaces"]] == [False]
    assert [kind for kind, _, _ in await told(workspace)] == ["created", "updated", "deleted", "restored"]


async def test_after_the_time_of_grace_nobody_restores(people, owner, refused):
    ada = await people.person()
    workspace = await people.workspace(ada)
    await ada.http.delete(f"/v1/workspaces/{workspace}", params={"confirm": "Notes"})
    await owner(
        "UPDATE auth_gateway.workspace SET deleted_at = now() - interval '30 days 1 second' WHERE id = %s", workspace
    )
    refused(await ada.http.post(f"/v1/workspaces/{workspace}/restore"), 404, "workspace_not_found")
    assert (await ada.http.get("/v1/workspaces", params={"state": "deleted"})).json()["items"] == []


async def test_documents_of_a_deleted_workspace_close_within_a_second(people):
    ada = await people.person()
    workspace = await people.workspace(ada)
    document = await people.document(ada, workspace)
    assert (await ada.http.get(f"/v1/documents/{document['id']}")).status_code == 200
    await ada.http.delete(f"/v1/workspaces/{workspace}", params={"confirm": "Notes"})
    async with asyncio.timeout(1):
        while (await ada.http.get(f"/v1/documents/{document['id']}")).status_code != 404:
            await asyncio.sleep(0.01)
