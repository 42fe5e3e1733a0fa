"""The audit log over HTTP: who may read whose, filters, pages, verification."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio

from common.identifiers import uuid7
from common.testing.checks import problem
from common.testing.writing import save

from .conftest import document_event


@pytest_asyncio.fixture(scope="module")
async def audited(people):
    """A workspace in which an owner and an editor worked on two documents."""
    ada, bob, eve = await people.person("Ada"), await people.person("Bob"), await people.person("Eve")
    workspace = await people.workspace(ada)
    await people.join(workspace, bob, "editor")
    first = await people.document(ada, workspace, "one\n", title="First")
    second = await people.document(bob, workspace, "uno\n", title="Second")
    await save(bob, first["id"], 1, "two\n")
    await save(ada, first["id"], 2, "three\n")
    await logged(ada, workspace, 6)
    return ada, bob, eve, workspace, first["id"], second["id"]


async def entries(person, **params):
    answer = await person.http.get("/v1/sync/log", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


async def logged(person, workspace, count):
    """Wait until so many events of a workspace are in the log."""
    async with asyncio.timeout(20):
        while len(found := await entries(person, workspace_id=workspace, limit=200)) < count:
            await asyncio.sleep(0.05)
    return found


async def test_everything_that_happened_is_there_with_who_and_from_where(audited):
    ada, bob, _, workspace, first, _second = audited
    found = await entries(ada, workspace_id=workspace)
    assert [entry["seq"] for entry in found] == [6, 5, 4, 3, 2, 1]
    assert {entry["type"] for entry in found} == {
        "auth-gateway.workspace.created.v1", "auth-gateway.membership.changed.v1",
        "documents.document.created.v1", "documents.document.updated.v1",
    }  # fmt: skip
    [saved] = [entry for entry in found if (entry["entity_id"], entry["version"]) == (first, 2)]
    assert saved["actor"] == str(bob.id)
    assert saved["session_id"] == str(bob.session_id)
    assert saved["auth_method"] == "pwd"
    assert saved["client_ip"]
    assert saved["data"]["title"] == "First"
    assert "two" not in str(saved["data"])


async def test_filters(audited):
    ada, bob, _, workspace, first, second = audited

    async def found(**params):
        return [
            (entry["entity_id"], entry["version"]) for entry in await entries(ada, workspace_id=workspace, **params)
        ]

    assert await found(document_id=first) == [(first, 3), (first, 2), (first, 1)]
    assert await found(actor=str(bob.id)) == [(first, 2), (second, 1)]
    assert await found(type="documents.document.created") == [(second, 1), (first, 1)]
    assert len(await found(type="documents.", actor=str(ada.id))) == 2
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    assert await found(since=later) == []
    assert len(await found(until=later)) == 6
    assert await found(document_id=str(uuid7())) == []


async def test_pages(audited):
    ada, *_, workspace, _first, _second = audited
    seen, cursor = [], None
    while True:
        params = {"workspace_id": workspace, "limit": 4} | ({"cursor": cursor} if cursor else {})
        answer = (await ada.http.get("/v1/sync/log", params=params)).json()
        seen += [entry["seq"] for entry in answer["items"]]
        cursor = answer["next_cursor"]
        if cursor is None:
            break
    assert seen == [6, 5, 4, 3, 2, 1]
    problem(await ada.http.get("/v1/sync/log", params={"cursor": "x"}), 400, "cursor_invalid")


async def test_only_owners_and_admins_read_a_workspaces_log(audited, people):
    ada, bob, eve, workspace, *_ = audited
    admin = await people.person("Admin")
    await people.join(workspace, admin, "admin")
    assert len(await entries(admin, workspace_id=workspace)) == 6
    for path in ("/v1/sync/log", "/v1/sync/log/verify"):
        params = {"workspace_id": workspace}
        problem(await bob.http.get(path, params=params), 403, "role_insufficient")
        problem(await eve.http.get(path, params=params), 404, "workspace_not_found")
        problem(await eve.http.get(path, params={"workspace_id": str(uuid7())}), 404, "workspace_not_found")
        problem(await people.client().get(path, params=params), 401, "unauthorized")
    demoted = await ada.http.patch(f"/v1/workspaces/{workspace}/members/{admin.id}", json={"role": "viewer"})
    assert demoted.status_code == 200
    problem(await admin.http.get("/v1/sync/log", params={"workspace_id": workspace}), 403, "role_insufficient")
    await logged(ada, workspace, 7)  # the demotion too: the tests to come find a log at rest


async def test_everybody_reads_what_concerns_themselves(audited, people):
    eve = await people.person("Eve")
    assert await entries(eve) == []
    assert (await eve.http.patch("/v1/users/me", json={"display_name": "Eve B."})).status_code == 200
    async with asyncio.timeout(20):
        while not (mine := await entries(eve)):
            await asyncio.sleep(0.1)
    assert [(entry["type"], entry["actor"]) for entry in mine] == [("auth-gateway.user.updated.v1", str(eve.id))]
    verified = (await eve.http.get("/v1/sync/log/verify")).json()
    assert (verified["intact"], verified["complete"], verified["seq"]) == (True, True, 1)


async def test_an_untouched_chain_verifies_also_from_the_middle(audited):
    ada, *_, workspace, _first, _second = audited
    path = "/v1/sync/log/verify"
    whole = (await ada.http.get(path, params={"workspace_id": workspace})).json()
    assert (whole["intact"], whole["complete"], whole["broken_at"], whole["erased"]) == (True, True, None, 0)
    rest = (await ada.http.get(path, params={"workspace_id": workspace, "after": 3})).json()
    assert (rest["seq"], rest["hash"]) == (whole["seq"], whole["hash"])
    newest = (await entries(ada, workspace_id=workspace, limit=1))[0]
    assert newest["hash"] == whole["hash"]
    problem(await ada.http.get(path, params={"workspace_id": workspace, "after": 99}), 404, "entry_not_found")


@pytest.mark.parametrize(
    ("change", "broken_at"),
    [
        ("UPDATE sync.sync_log SET type = 'x' WHERE scope_id = %s AND seq = 2", 2),
        ("UPDATE sync.sync_log SET hash = '\\x00' WHERE scope_id = %s AND seq = 3", 3),
        ("DELETE FROM sync.sync_log WHERE scope_id = %s AND seq = 2", 2),
        ("DELETE FROM sync.sync_log WHERE scope_id = %s AND seq = 3", 3),
        ("UPDATE sync.scope SET hash = '\\x00' WHERE id = %s", 3),
        (
            "UPDATE sync.sync_log_detail SET personal = personal || '{\"actor\": null}' "
            "WHERE scope_id = %s AND seq = 1",
            1,
        ),
        ("DELETE FROM sync.sync_log_detail WHERE scope_id = %s AND seq = 2", None),
    ],
)
async def test_what_somebody_with_the_database_changed_is_found(people, log, change, broken_at):
    ada = await people.person("Ada")
    workspace = await people.workspace(ada)
    await people.document(ada, workspace)
    await logged(ada, workspace, 3)
    await log.owner.execute(change, (workspace,))
    verified = (await ada.http.get("/v1/sync/log/verify", params={"workspace_id": workspace})).json()
    assert (verified["intact"], verified["broken_at"]) == (broken_at is None, broken_at)
    assert verified["erased"] == (1 if broken_at is None else 0)
    assert len(await entries(ada, workspace_id=workspace)) >= 2, "reading still works"


async def test_a_log_that_is_gone_as_a_whole_is_missed(people, log):
    ada = await people.person("Ada")
    workspace = await people.workspace(ada)
    await logged(ada, workspace, 2)
    await log.owner.execute("DELETE FROM sync.sync_log WHERE scope_id = %s", (workspace,))
    verified = (await ada.http.get("/v1/sync/log/verify", params={"workspace_id": workspace})).json()
    assert (verified["intact"], verified["broken_at"]) == (False, 1)


async def test_what_an_admin_did_to_me_does_not_tell_me_from_where(people):
    ada, ben = await people.person("Ada"), await people.person("Ben")
    workspace = await people.workspace(ada)
    await people.join(workspace, ben, "editor")
    path = f"/v1/workspaces/{workspace}/members/{ben.id}"
    assert (await ada.http.patch(path, json={"role": "viewer"})).status_code == 200
    assert (await ben.http.patch("/v1/users/me", json={"display_name": "Benjamin"})).status_code == 200
    async with asyncio.timeout(20):
        while len(mine := await entries(ben)) < 2:
            await asyncio.sleep(0.1)
    told = {entry["type"].split(".")[1]: entry for entry in mine}
    assert told["membership"]["actor"] == str(ada.id)
    assert [told["membership"][name] for name in ("session_id", "client_ip", "auth_method")] == [None] * 3
    assert told["user"]["client_ip"], "what one did oneself says from where"
    [seen] = [
        entry for entry in await logged(ada, workspace, 3) if entry["actor"] and entry["data"].get("role") == "viewer"
    ]
    assert seen["client_ip"]


async def test_long_chains_are_verified_call_by_call(people, log, monkeypatch):
    monkeypatch.setattr("sync.service.audit.CHECKED_AT_ONCE", 10)
    monkeypatch.setattr("sync.service.audit.CHECKED_PER_REQUEST", 20)
    ada = await people.person("Ada")
    workspace = await people.workspace(ada)
    await logged(ada, workspace, 2)
    document = uuid7()
    await log.apply(*[document_event(document, version, workspace) for version in range(1, 44)])
    after, calls = 0, 0
    while True:
        params = {"workspace_id": workspace, "after": after}
        verified = (await ada.http.get("/v1/sync/log/verify", params=params)).json()
        assert verified["intact"]
        after, calls = verified["seq"], calls + 1
        if verified["complete"]:
            break
    assert (after, calls) == (45, 3)


@pytest.mark.parametrize(
    "params",
    [{"workspace_id": "x"}, {"document_id": "x"}, {"actor": "x"}, {"type": "a%"}, {"since": "x"}, {"limit": 0}],
)
async def test_bad_parameters(audited, params):
    problem(await audited[0].http.get("/v1/sync/log", params=params), 422, "validation_error")


async def names_in(person, document, **params):
    """Titles the log tells of a document."""
    found = await entries(person, document_id=document, limit=200, **params)
    return {(entry["data"] or {}).get("title") for entry in found}


async def test_a_title_is_told_only_to_who_may_read_the_document_now(people):
    ada, admin = await people.person("Ada"), await people.person("Admin")
    workspace = await people.workspace(ada)
    await people.join(workspace, admin, "admin")
    document = (await people.document(ada, workspace, "a\n", title="Layoffs"))["id"]
    async with asyncio.timeout(20):
        while await names_in(admin, document, workspace_id=workspace) != {"Layoffs"}:
            await asyncio.sleep(0.05)
    rules = {"restricted": True}
    assert (await ada.http.put(f"/v1/documents/{document}/access", json=rules)).status_code == 200
    async with asyncio.timeout(1):
        while await names_in(admin, document, workspace_id=workspace) != {None}:
            await asyncio.sleep(0.01)
    assert "Layoffs" in await names_in(ada, document, workspace_id=workspace)
    async with asyncio.timeout(20):
        while not await entries(admin, workspace_id=workspace, type="documents.root."):
            await asyncio.sleep(0.05)
    [told] = await entries(admin, workspace_id=workspace, type="documents.root.")
    assert (told["actor"], told["data"]["inherits"]) == (str(ada.id), False)
    assert "restricted" in told["data"]["change"]
    assert await names_in(admin, document, workspace_id=workspace, root_id=document) == {None}
    assert await names_in(ada, document, workspace_id=workspace, root_id=document) == {"Layoffs"}
    verified = await admin.http.get("/v1/sync/log/verify", params={"workspace_id": workspace, "root_id": document})
    assert (verified.json()["intact"], verified.json()["seq"]) == (True, 2), "the rules, and what then lay under them"
    other = await admin.http.get("/v1/sync/log", params={"workspace_id": workspace, "root_id": str(uuid7())})
    problem(other, 404, "root_not_found")
