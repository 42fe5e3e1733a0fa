"""Invitations: from the mail to the membership."""

import asyncio
import secrets
from uuid import uuid4

import pytest

from auth_gateway.repository import MemberRepository


@pytest.fixture
async def invited(people, mailed_secret):
    """Ada's workspace, and Bob invited to it with this role."""

    async def make(role="editor"):
        ada, bob = await people.person(), await people.person("Bob")
        workspace = await people.workspace(ada, "Reading circle")
        answer = await ada.http.post(
            f"/v1/workspaces/{workspace}/invitations", json={"email": bob.email.upper(), "role": role}
        )
        assert answer.status_code == 201, answer.text
        return ada, bob, workspace, answer.json(), mailed_secret(bob.email)

    return make


async def test_the_mail_holds_the_link_and_nothing_else_does(invited, mails, owner):
    ada, bob, workspace, invitation, secret = await invited()
    assert invitation.keys() == {
        "id", "workspace_id", "email", "role", "invited_by", "created_at", "expires_at", "accepted_at", "revoked_at"
    }  # fmt: skip
    assert (invitation["email"], invitation["role"], invitation["invited_by"]) == (bob.email, "editor", str(ada.id))
    [mail] = mails(bob.email)
    assert mail["Subject"] == "Invitation to Reading circle"
    assert f"http://localhost:5173/invitations/{secret}" in mail.get_content()
    assert secret not in str(invitation)
    listed = (await ada.http.get(f"/v1/workspaces/{workspace}/invitations")).json()
    assert listed == {"items": [invitation], "next_cursor": None}
    [(row, events)] = await owner(
        "SELECT to_jsonb(i)::text, (SELECT jsonb_agg(data)::text FROM auth_gateway.event) "
        "FROM auth_gateway.invitation i WHERE id = %s",
        invitation["id"],
    )
    assert secret not in row + events


async def test_whoever_has_the_link_sees_what_it_is_for(invited, visitor, refused):
    _, bob, workspace, _, secret = await invited("commenter")
    preview = await visitor().get(f"/v1/invitations/{secret}")
    assert preview.status_code == 200
    expected = {"workspace_id": workspace, "workspace_name": "Reading circle", "email": bob.email, "role": "commenter"}
    assert preview.json().items() >= {**expected, "invited_by": "Ada"}.items()
    for wrong in (secrets.token_urlsafe(32), secret[:-1], secret.swapcase()):
        refused(await visitor().get(f"/v1/invitations/{wrong}"), 404, "invitation_not_found")
    for malformed in ("%00", "a.b", "x" * 201, "%F0%9F%92%A5"):
        refused(await visitor().get(f"/v1/invitations/{malformed}"), 422, "validation_error")


async def test_accepting_makes_a_member_and_proves_the_address(invited, owner, refused):
    ada, bob, workspace, _invitation, secret = await invited()
    refused(await bob.http.get(f"/v1/workspaces/{workspace}"), 404, "workspace_not_found")
    for _ in range(2):  # again changes nothing
        answer = await bob.http.post(f"/v1/invitations/{secret}/accept")
        assert (answer.status_code, answer.json()["id"], answer.json()["role"]) == (200, workspace, "editor")
    assert (await bob.http.get("/v1/users/me")).json()["email_verified"] is True
    refused(await bob.http.get(f"/v1/invitations/{secret}"), 410, "invitation_gone")
    [listed] = (await ada.http.get(f"/v1/workspaces/{workspace}/invitations")).json()["items"]
    assert listed["accepted_at"]
    [(member,)] = await owner("SELECT version FROM auth_gateway.member WHERE user_id = %s", bob.id)
    events = await owner("SELECT type FROM auth_gateway.event WHERE headers->>'actor' = %s ORDER BY id", str(bob.id))
    assert member == 1
    assert [event for (event,) in events] == [
        "auth-gateway.membership.changed.v1",
        "auth-gateway.user.updated.v1",
        "auth-gateway.invitation.accepted.v1",
    ]


async def test_accepting_twice_at_once_succeeds_twice(invited, owner):
    for _ in range(3):
        _, bob, _, _, secret = await invited()
        answers = await asyncio.gather(*(bob.http.post(f"/v1/invitations/{secret}/accept") for _ in range(4)))
        assert [answer.status_code for answer in answers] == [200] * 4
        [(version,)] = await owner("SELECT version FROM auth_gateway.member WHERE user_id = %s", bob.id)
        assert version == 1


async def test_only_the_invited_address_may_accept(invited, people, visitor, refused):
    _, bob, workspace, _, secret = await invited()
    eve = await people.person("Eve")
    refused(await eve.http.post(f"/v1/invitations/{secret}/accept"), 403, "invitation_for_other_address")
    refused(await visitor().post(f"/v1/invitations/{secret}/accept"), 401, "unauthorized")
    refused(await eve.http.get(f"/v1/workspaces/{workspace}"), 404, "workspace_not_found")
    assert (await eve.http.get("/v1/users/me")).json()["email_verified"] is False
    assert (await bob.http.post(f"/v1/invitations/{secret}/accept")).status_code == 200
    refused(await eve.http.post(f"/v1/invitations/{secret}/accept"), 403, "invitation_for_other_address")


async def test_expired_invitations_are_gone_and_make_room_for_new_ones(invited, owner, refused, visitor, mailed_secret):
    ada, bob, workspace, invitation, secret = await invited()
    await owner("UPDATE auth_gateway.invitation SET expires_at = now() WHERE id = %s", invitation["id"])
    refused(await bob.http.post(f"/v1/invitations/{secret}/accept"), 410, "invitation_gone")
    refused(await visitor().get(f"/v1/invitations/{secret}"), 410, "invitation_gone")
    again = await ada.http.post(f"/v1/workspaces/{workspace}/invitations", json={"email": bob.email})
    assert again.status_code == 201
    assert (await bob.http.post(f"/v1/invitations/{mailed_secret(bob.email)}/accept")).status_code == 200


async def test_revoked_invitations_are_gone(invited, refused, visitor, owner):
    ada, bob, workspace, invitation, secret = await invited()
    path = f"/v1/workspaces/{workspace}/invitations/{invitation['id']}"
    for _ in range(2):
        assert (await ada.http.delete(path)).status_code == 204
    refused(await bob.http.post(f"/v1/invitations/{secret}/accept"), 410, "invitation_gone")
    refused(await visitor().get(f"/v1/invitations/{secret}"), 410, "invitation_gone")
    events = await owner("SELECT type FROM auth_gateway.event WHERE aggregate_id = %s ORDER BY id", invitation["id"])
    assert [event for (event,) in events] == [
        "auth-gateway.invitation.created.v1",
        "auth-gateway.invitation.revoked.v1",
    ]
    refused(await ada.http.delete(f"/v1/workspaces/{workspace}/invitations/{uuid4()}"), 404, "invitation_not_found")


async def test_an_accepted_invitation_cannot_be_revoked_or_used_after_a_removal(invited, refused):
    ada, bob, workspace, invitation, secret = await invited()
    await bob.http.post(f"/v1/invitations/{secret}/accept")
    assert (await ada.http.delete(f"/v1/workspaces/{workspace}/invitations/{invitation['id']}")).status_code == 204
    assert (await bob.http.get(f"/v1/workspaces/{workspace}")).status_code == 200
    assert (await ada.http.delete(f"/v1/workspaces/{workspace}/members/{bob.id}")).status_code == 204
    assert (await bob.http.post(f"/v1/invitations/{secret}/accept")).status_code in (404, 410)
    refused(await bob.http.get(f"/v1/workspaces/{workspace}"), 404, "workspace_not_found")


async def test_revoking_and_accepting_at_once_ends_one_way_for_both(invited):
    for _ in range(4):
        ada, bob, workspace, invitation, secret = await invited()
        revoked, accepted = await asyncio.gather(
            ada.http.delete(f"/v1/workspaces/{workspace}/invitations/{invitation['id']}"),
            bob.http.post(f"/v1/invitations/{secret}/accept"),
        )
        assert revoked.status_code == 204
        member = (await bob.http.get(f"/v1/workspaces/{workspace}")).status_code
        [listed] = (await ada.http.get(f"/v1/workspaces/{workspace}/invitations")).json()["items"]
        assert (accepted.status_code, member, bool(listed["accepted_at"]), bool(listed["revoked_at"])) in (
            (200, 200, True, False),
            (410, 404, False, True),
        )


async def test_members_and_the_invited_are_not_invited_again(invited, refused):
    ada, bob, workspace, _, secret = await invited()
    path = f"/v1/workspaces/{workspace}/invitations"
    refused(await ada.http.post(path, json={"email": bob.email}), 409, "already_invited")
    assert (await bob.http.post(f"/v1/invitations/{secret}/accept")).status_code == 200
    refused(await ada.http.post(path, json={"email": bob.email}), 409, "already_member")
    refused(await ada.http.post(path, json={"email": ada.email}), 409, "already_member")


async def test_parallel_invitations_of_one_address_make_one(people, mails):
    for _ in range(2):
        ada = await people.person()
        workspace, email = await people.workspace(ada), f"{uuid4()}@example.org"
        path = f"/v1/workspaces/{workspace}/invitations"
        answers = await asyncio.gather(*(ada.http.post(path, json={"email": email}) for _ in range(4)))
        assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
        assert len(mails(email)) == 1


async def test_a_repeated_key_does_not_mail_again(people, mails):
    ada = await people.person()
    workspace, email = await people.workspace(ada), f"{uuid4()}@example.org"
    answers = [
        await ada.http.post(
            f"/v1/workspaces/{workspace}/invitations", json={"email": email}, headers={"Idempotency-Key": "once"}
        )
        for _ in range(2)
    ]
    assert answers[0].content == answers[1].content
    assert len(mails(email)) == 1


async def test_inviting_floods_nobody(people, refused, mails):
    email = f"{uuid4()}@example.org"
    ada = await people.person()
    answers = []
    for _ in range(7):
        workspace = await people.workspace(ada)
        answers.append(await ada.http.post(f"/v1/workspaces/{workspace}/invitations", json={"email": email}))
    refused(answers[-1], 429, "rate_limited")
    assert len(mails(email)) <= 6


async def test_nobody_can_use_up_the_mails_of_an_address_to_keep_its_owner_out(people, visitor, refused):
    email = f"{uuid4()}@example.org"
    anonymous, eve, mallory = visitor(), await people.person("Eve"), await people.person("Mallory")
    workspace = await people.workspace(eve)
    await people.join(workspace, mallory, "editor")
    path = f"/v1/workspaces/{workspace}/invitations"
    for _ in range(7):
        refused(await anonymous.post(path, json={"email": email}), 401, "unauthorized")
        refused(await mallory.http.post(path, json={"email": email}), 403, "role_insufficient")
    assert (await eve.http.post(path, json={"email": email})).status_code == 201
    for _ in range(7):
        refused(await eve.http.post(path, json={"email": email}), 409, "already_invited")
    for n in range(6):
        other = f"/v1/workspaces/{await people.workspace(eve)}/invitations"
        assert (await eve.http.post(other, json={"email": email})).status_code == (201 if n < 4 else 429)
    ada = await people.person()
    hers = f"/v1/workspaces/{await people.workspace(ada)}/invitations"
    assert (await ada.http.post(hers, json={"email": email})).status_code == 201
    body = {"email": email, "password": f"{uuid4()} kettle", "display_name": "Victim"}
    assert (await visitor().post("/v1/auth/register", json=body)).status_code == 201


async def test_an_invitation_withdrawn_while_it_is_accepted_is_gone(invited, owner, refused, monkeypatch):
    _, bob, workspace, invitation, secret = await invited()
    genuine = MemberRepository.find

    async def withdrawn_meanwhile(self, *arguments):
        await owner("UPDATE auth_gateway.invitation SET revoked_at = now() WHERE id = %s", invitation["id"])
        return await genuine(self, *arguments)

    monkeypatch.setattr(MemberRepository, "find", withdrawn_meanwhile)
    refused(await bob.http.post(f"/v1/invitations/{secret}/accept"), 410, "invitation_gone")
    refused(await bob.http.get(f"/v1/workspaces/{workspace}"), 404, "workspace_not_found")


async def test_a_repeated_key_costs_no_mail(people, mails):
    ada, email = await people.person(), f"{uuid4()}@example.org"
    path = f"/v1/workspaces/{await people.workspace(ada)}/invitations"
    answers = [await ada.http.post(path, json={"email": email}, headers={"Idempotency-Key": "once"}) for _ in range(8)]
    assert [answer.status_code for answer in answers] == [201] * 8
    assert len(mails(email)) == 1


@pytest.mark.parametrize("end", ["removed", "leaves", "demoted", "owner_to_admin"])
async def test_invitations_end_with_the_right_to_make_them(people, mailed_secret, owner, refused, end):
    root, inviter = await people.person("Root"), await people.person("Inviter")
    guest, boss = await people.person("Guest"), await people.person("Boss")
    workspace = await people.workspace(root)
    await people.join(workspace, inviter, "owner")
    path, member = f"/v1/workspaces/{workspace}/invitations", f"/v1/workspaces/{workspace}/members/{inviter.id}"
    lesser = (await inviter.http.post(path, json={"email": guest.email, "role": "admin"})).json()
    highest = (await inviter.http.post(path, json={"email": boss.email, "role": "owner"})).json()
    kept = (await root.http.post(path, json={"email": f"{uuid4()}@example.org", "role": "owner"})).json()
    if end == "removed":
        assert (await root.http.delete(member)).status_code == 204
    elif end == "leaves":
        assert (await inviter.http.delete(member)).status_code == 204
    else:
        role = "editor" if end == "demoted" else "admin"
        assert (await root.http.patch(member, json={"role": role})).status_code == 200

    ended = {highest["id"]} if end == "owner_to_admin" else {highest["id"], lesser["id"]}
    refused(await boss.http.post(f"/v1/invitations/{mailed_secret(boss.email)}/accept"), 410, "invitation_gone")
    joined = await guest.http.post(f"/v1/invitations/{mailed_secret(guest.email)}/accept")
    assert joined.status_code == (200 if end == "owner_to_admin" else 410)
    revoked = await owner(
        "SELECT data->>'invitation_id' FROM auth_gateway.event WHERE type = 'auth-gateway.invitation.revoked.v1' "
        "AND data->>'workspace_id' = %s",
        workspace,
    )
    assert sorted(revoked) == sorted((invitation,) for invitation in ended)
    listed = {item["id"]: item for item in (await root.http.get(path)).json()["items"]}
    assert {invitation for invitation, item in listed.items() if item["revoked_at"]} == ended
    assert listed[kept["id"]]["revoked_at"] is None


async def test_joining_again_raises_the_version_and_opens_documents_again(
    invited, people, mailed_secret, owner, refused
):
    ada, bob, workspace, _, secret = await invited()
    document = await people.document(ada, workspace)
    path = f"/v1/documents/{document['id']}"
    await bob.http.post(f"/v1/invitations/{secret}/accept")
    assert (await bob.http.get(path)).status_code == 200
    await ada.http.delete(f"/v1/workspaces/{workspace}/members/{bob.id}")
    async with asyncio.timeout(1):
        while (await bob.http.get(path)).status_code == 200:
            await asyncio.sleep(0.01)
    await ada.http.post(f"/v1/workspaces/{workspace}/invitations", json={"email": bob.email, "role": "viewer"})
    joined = await bob.http.post(f"/v1/invitations/{mailed_secret(bob.email)}/accept")
    assert (joined.status_code, joined.json()["role"]) == (200, "viewer")
    [(version, removed)] = await owner("SELECT version, removed FROM auth_gateway.member WHERE user_id = %s", bob.id)
    assert (version, removed) == (3, False)
    async with asyncio.timeout(1.5):  # a "no" may be remembered for a second
        while (await bob.http.get(path)).status_code != 200:
            await asyncio.sleep(0.02)
    assert (await bob.http.get(path)).json()["abilities"]["edit"] is False


async def test_an_invitation_raises_a_role_but_never_lowers_it(people, owner, mailed_secret):
    ada, bob = await people.person(), await people.person("Bob")
    for role, invited_as, expected in (("viewer", "editor", "editor"), ("admin", "viewer", "admin")):
        workspace = await people.workspace(ada)
        await ada.http.post(f"/v1/workspaces/{workspace}/invitations", json={"email": bob.email, "role": invited_as})
        await people.join(workspace, bob, role)
        accepted = await bob.http.post(f"/v1/invitations/{mailed_secret(bob.email)}/accept")
        assert (accepted.status_code, accepted.json()["role"]) == (200, expected)


@pytest.mark.parametrize("name", ["Bcc: eve@example.org", "Zoë ✎ 読書会", "x" * 200, "=?utf-8?q?a?=", "a\u200bb"])
async def test_any_workspace_name_fits_into_the_mail(people, mails, name):
    ada = await people.person()
    workspace, email = await people.workspace(ada, name), f"{uuid4()}@example.org"
    answer = await ada.http.post(f"/v1/workspaces/{workspace}/invitations", json={"email": email})
    assert answer.status_code == 201
    [mail] = mails(email)
    assert mail.keys() == ["From", "To", "Subject", "Content-Type", "Content-Transfer-Encoding", "MIME-Version"]
    assert name in mail.get_content()


async def test_invitations_come_in_pages_newest_first(people):
    ada = await people.person()
    path = f"/v1/workspaces/{await people.workspace(ada)}/invitations"
    made = [(await ada.http.post(path, json={"email": f"{uuid4()}@example.org"})).json()["id"] for _ in range(3)]
    first = (await ada.http.get(path, params={"limit": 2})).json()
    second = (await ada.http.get(path, params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert [item["id"] for item in first["items"] + second["items"]] == made[::-1]
    assert second["next_cursor"] is None


@pytest.mark.parametrize(
    "body", [{}, {"email": "x"}, {"email": "a@example.org", "role": "god"}, {"email": "a@example.org", "token": "mine"}]
)
async def test_malformed_invitations_are_422(people, refused, body):
    ada = await people.person()
    workspace = await people.workspace(ada)
    refused(await ada.http.post(f"/v1/workspaces/{workspace}/invitations", json=body), 422, "validation_error")
