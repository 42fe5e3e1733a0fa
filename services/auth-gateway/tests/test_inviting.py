"""Many invitations at once, their expiry, mailing one again, and registering through one."""

import asyncio
import dataclasses
import re
import secrets
from datetime import datetime, timedelta
from uuid import uuid4

import pytest

from common.contracts.auth_gateway import membership_id

PASSWORD = "violet Tundra 88 kettle"


def fresh():
    return f"{uuid4().hex}@example.org"


@pytest.fixture
async def inviting(people):
    """Ada's workspace and the path of its invitations."""
    ada = await people.person()
    workspace = await people.workspace(ada, "Reading circle")
    return ada, workspace, f"/v1/workspaces/{workspace}/invitations"


# Several at once


async def test_several_are_invited_each_with_a_result(inviting, people, mails):
    ada, workspace, path = inviting
    member, admin = await people.person("Member"), await people.person("Admin")
    await people.join(workspace, member, "viewer")
    await people.join(workspace, admin, "admin")
    new, other = fresh(), fresh()
    wanted = [
        {"email": new, "role": "guest", "expires_in_days": 3},
        {"email": member.email},
        {"email": new.upper()},
        {"email": fresh(), "role": "owner"},
        {"email": other},
    ]
    answer = await admin.http.post(path, json={"invitations": wanted}, headers={"Idempotency-Key": "many"})
    assert answer.status_code == 201, answer.text
    items = answer.json()["items"]
    assert [item["result"] for item in items] == [
        "invited", "already_member", "already_invited", "role_insufficient", "invited"
    ]  # fmt: skip
    assert [item["email"] for item in items][:2] == [new, member.email]
    listed = (await ada.http.get(path)).json()["items"]
    assert [item["invitation"] for item in items if item["invitation"]] == listed[::-1]
    assert (len(mails(new)), len(mails(other)), len(mails(wanted[3]["email"]))) == (1, 1, 0)
    again = await admin.http.post(path, json={"invitations": wanted}, headers={"Idempotency-Key": "many"})
    assert (again.content, len(mails(new))) == (answer.content, 1)


async def test_fifty_are_invited_at_once_and_no_more(inviting, people, refused):
    ada, workspace, path = inviting
    answer = await ada.http.post(path, json={"invitations": [{"email": fresh()} for _ in range(50)]})
    assert {item["result"] for item in answer.json()["items"]} == {"invited"}
    viewer = await people.person("Viewer")
    await people.join(workspace, viewer, "viewer")
    refused(await viewer.http.post(path, json={"invitations": [{"email": fresh()}]}), 403, "role_insufficient")
    for invalid in ([], [{"email": fresh()}] * 51, [{"email": "x"}], None, {}, [[]], "x"):
        refused(await ada.http.post(path, json={"invitations": invalid}), 422, "validation_error")
    both = {"invitations": [{"email": fresh()}], "email": fresh()}
    refused(await ada.http.post(path, json=both), 422, "validation_error")


async def test_an_invitation_lasts_as_long_as_said(inviting, refused):
    ada, _, path = inviting
    for days, lasts in ((1, 1), (90, 90), (None, 14)):
        made = (await ada.http.post(path, json={"email": fresh(), "expires_in_days": days})).json()
        created, expires = (datetime.fromisoformat(made[name]) for name in ("created_at", "expires_at"))
        assert expires - created == timedelta(days=lasts)
    for days in (0, 91, -1, 1.5, "x"):
        answer = await ada.http.post(path, json={"email": fresh(), "expires_in_days": days})
        refused(answer, 422, "validation_error")


# Mailing again


async def test_resending_mails_a_new_link_and_the_old_one_is_dead(inviting, people, mailed_secret, owner, refused):
    ada, _, path = inviting
    bob = await people.person("Bob")
    made = (await ada.http.post(path, json={"email": bob.email})).json()
    old = mailed_secret(bob.email)
    await owner("UPDATE auth_gateway.invitation SET expires_at = now() WHERE id = %s", made["id"])
    again = await ada.http.post(f"{path}/{made['id']}/resend")
    assert again.status_code == 200, again.text
    assert again.json()["expires_at"] > made["expires_at"]
    refused(await bob.http.post(f"/v1/invitations/{old}/accept"), 404, "invitation_not_found")
    assert (await bob.http.post(f"/v1/invitations/{mailed_secret(bob.email)}/accept")).status_code == 200
    refused(await ada.http.post(f"{path}/{made['id']}/resend"), 410, "invitation_gone")
    refused(await ada.http.post(f"{path}/{uuid4()}/resend"), 404, "invitation_not_found")
    elsewhere = await people.workspace(ada)
    answer = await ada.http.post(f"/v1/workspaces/{elsewhere}/invitations/{made['id']}/resend")
    refused(answer, 404, "invitation_not_found")


async def test_resending_follows_the_rules_of_inviting(inviting, people, owner, refused, mails):
    ada, workspace, path = inviting
    admin, bob = await people.person("Admin"), await people.person("Bob")
    await people.join(workspace, admin, "admin")
    highest = (await ada.http.post(path, json={"email": fresh(), "role": "owner"})).json()
    refused(await admin.http.post(f"{path}/{highest['id']}/resend"), 403, "role_insufficient")
    expired = (await ada.http.post(path, json={"email": bob.email})).json()
    await owner("UPDATE auth_gateway.invitation SET expires_at = now() WHERE id = %s", expired["id"])
    renewed = (await ada.http.post(path, json={"email": bob.email})).json()
    refused(await ada.http.post(f"{path}/{expired['id']}/resend"), 409, "already_invited")
    await people.join(workspace, bob, "viewer")
    refused(await ada.http.post(f"{path}/{renewed['id']}/resend"), 409, "already_member")
    await ada.http.delete(f"{path}/{highest['id']}")
    refused(await ada.http.post(f"{path}/{highest['id']}/resend"), 410, "invitation_gone")
    flooded = (await ada.http.post(path, json={"email": fresh()})).json()
    answers = [await ada.http.post(f"{path}/{flooded['id']}/resend") for _ in range(7)]
    refused(answers[-1], 429, "rate_limited")
    assert len(mails(flooded["email"])) <= 6


# Registering through the link


@pytest.fixture
def register(visitor):
    """Registers an address with the secret of an invitation."""

    async def ask(email, token):
        body = {"email": email, "password": PASSWORD, "display_name": "New", "invitation_token": token}
        return await visitor().post("/v1/auth/register", json=body)

    return ask


@pytest.mark.parametrize("role", ["editor", "guest"])
async def test_registering_through_the_link_proves_the_address_and_joins(
    inviting, register, mailed_secret, mails, visitor, told, owner, role
):
    ada, workspace, path = inviting
    email = fresh()
    invitation = (await ada.http.post(path, json={"email": email, "role": role})).json()
    answer = await register(email.upper(), mailed_secret(email))
    assert answer.status_code == 201, answer.text
    user = answer.json()["user"]
    assert (answer.json()["verification"], user["email_verified"], len(mails(email))) == ("not_required", True, 1)
    tokens = (await visitor().post("/v1/auth/login", json={"email": email, "password": PASSWORD})).json()
    http = visitor()
    http.headers["Authorization"] = f"Bearer {tokens['access_token']}"
    assert (await http.get(f"/v1/workspaces/{workspace}")).json()["role"] == role
    [(kind, version, data)] = await told(membership_id(workspace, user["id"]))
    assert (kind, version, data["role"], data["removed"]) == ("changed", 1, role, False)
    assert [kind for kind, _, _ in await told(invitation["id"])] == ["created", "accepted"]
    [listed] = (await ada.http.get(path)).json()["items"]
    assert listed["accepted_at"]


async def test_a_wrong_or_closed_secret_opens_no_account(inviting, register, mailed_secret, refused, owner, people):
    ada, _, path = inviting
    email, other = fresh(), fresh()
    invitation = (await ada.http.post(path, json={"email": email})).json()
    secret = mailed_secret(email)
    refused(await register(email, secrets.token_urlsafe(32)), 404, "invitation_not_found")
    refused(await register(other, secret), 403, "invitation_for_other_address")
    refused(await register(ada.email, secret), 403, "invitation_for_other_address")
    await ada.http.delete(f"{path}/{invitation['id']}")
    refused(await register(email, secret), 410, "invitation_gone")
    assert await owner("SELECT 1 FROM auth_gateway.account WHERE email = ANY(%s)", [email, other]) == []
    bob = await people.person("Bob")
    await ada.http.post(path, json={"email": bob.email})
    refused(await register(bob.email, mailed_secret(bob.email)), 409, "email_taken")
    assert (await bob.http.post(f"/v1/invitations/{mailed_secret(bob.email)}/accept")).status_code == 200


async def test_a_link_registers_one_account_however_often_it_is_used_at_once(inviting, register, mailed_secret, owner):
    ada, workspace, path = inviting
    email = fresh()
    await ada.http.post(path, json={"email": email})
    answers = await asyncio.gather(*(register(email, mailed_secret(email)) for _ in range(3)))
    assert sorted(answer.status_code for answer in answers) in ([201, 410, 410], [201, 409, 410], [201, 409, 409])
    rows = await owner("SELECT version FROM auth_gateway.member WHERE workspace_id = %s", workspace)
    assert rows == [(1,), (1,)]


async def test_enumeration_safe_registration_says_the_same_with_a_secret(
    inviting, register, mailed_secret, people, fleet, monkeypatch, refused
):
    ada, _, path = inviting
    state = fleet["auth-gateway"].app.state
    terms = dataclasses.replace(state.resources.terms, enumeration_safe=True)
    monkeypatch.setitem(state._state, "resources", dataclasses.replace(state.resources, terms=terms))
    new, taken = fresh(), (await people.person("Bob")).email
    answers = []
    for email in (new, taken):
        await ada.http.post(path, json={"email": email})
        answers.append(await register(email, mailed_secret(email)))
        refused(await register(email, secrets.token_urlsafe(32)), 404, "invitation_not_found")
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].content == answers[1].content
    assert re.search("not_required", answers[0].text)
