"""The models a workspace allows by its own settings, wherever one asks."""

import asyncio
from datetime import UTC, datetime

import pytest
from test_native import CHAT, MESSAGES, VERSION, chat

from ai_proxy.consumers import subscribers
from common.identifiers import uuid7
from common.messaging import Envelope, Inbox


@pytest.fixture
async def bob(people, workspace):
    bob = await people.person("Bob")
    await people.join(workspace, bob, "editor")
    return bob


@pytest.fixture
def allow(ada, workspace):
    async def allowed(models):
        answer = await ada.http.patch(f"/v1/workspaces/{workspace}", json={"ai_models": models})
        assert answer.status_code == 200, answer.text

    return allowed


async def refused(person, provider, model="dev-small"):
    """In the provider's shape, without asking it."""
    asked = provider.record.count
    answer = await person.http.post(CHAT, json=chat(model))
    assert (answer.status_code, answer.headers["x-should-retry"]) == (403, "false"), answer.text
    assert (answer.json()["error"]["code"], answer.json()["error"]["type"]) == (
        "model_not_allowed", "permission_error"
    )  # fmt: skip
    answer = await person.http.post(MESSAGES, json=chat(model), headers=VERSION)
    assert (answer.status_code, answer.json()["type"]) == (403, "error")
    assert answer.json()["error"]["type"] == "permission_error"
    answer = await person.http.post("/v1/ai/assist", json={"action": "fix", "selection": "teh", "model": model})
    assert (answer.status_code, answer.json()["code"]) == (403, "model_not_allowed")
    assert provider.record.count == asked


async def listed(person, workspace):
    answer = await person.http.get("/v1/ai/models", params={"workspace_id": workspace})
    assert answer.status_code == 200, answer.text
    return {one["id"] for one in answer.json()["items"]}


async def test_a_model_the_workspace_does_not_allow_is_refused_from_then_on(ada, bob, workspace, provider, allow):
    assert (await bob.http.post(CHAT, json=chat())).status_code == 200
    assert {"dev-small", "dev-large"} <= await listed(bob, workspace)
    await allow(["dev-large", "gpt-4o"])
    await refused(bob, provider)
    await refused(ada, provider)
    assert (await bob.http.post(CHAT, json=chat("dev-large"))).status_code == 200
    assert await listed(bob, workspace) == {"dev-large", "gpt-4o"}
    await allow([])
    await refused(bob, provider)
    assert await listed(bob, workspace) == set()
    await allow(None)
    assert (await bob.http.post(CHAT, json=chat())).status_code == 200
    assert {"dev-small", "dev-large"} <= await listed(bob, workspace)


async def test_what_both_the_workspace_and_a_budget_allow_may_be_used(ada, bob, workspace, provider, allow):
    await allow(["dev-small", "dev-large"])
    budget = {"scope": "workspace", "workspace_id": workspace, "models": ["dev-large", "gpt-4o"]}
    assert (await ada.http.put("/v1/ai/budgets", json=budget)).status_code == 200
    await refused(bob, provider)
    await refused(bob, provider, "gpt-4o")
    assert (await bob.http.post(CHAT, json=chat("dev-large"))).status_code == 200
    assert await listed(bob, workspace) == {"dev-large"}


@pytest.mark.parametrize(("wire", "headers"), [("openai", {}), ("anthropic", VERSION)])
async def test_a_provider_s_list_has_what_may_be_used(bob, workspace, provider, allow, wire, headers):
    path = f"/v1/ai/{wire}/models"
    before = (await bob.http.get(path, headers=headers)).json()
    names = [one["id"] for one in before["data"]]
    assert len(names) > 1
    await allow([names[0]])
    after = await bob.http.get(path, headers=headers)
    assert after.json() == {**before, "data": before["data"][:1]}
    assert int(after.headers["content-length"]) == len(after.content)
    assert (await bob.http.get(f"{path}/{names[0]}", headers=headers)).status_code == 200
    assert (await bob.http.get(f"{path}/{names[1]}", headers=headers)).status_code == 403


async def test_other_workspaces_and_calls_of_none_are_not_concerned(people, ada, bob, workspace, provider, allow):
    await allow(["dev-large"])
    other = await people.workspace(bob, "Other")
    assert (await bob.http.post(CHAT, json=chat(), headers={"X-Workspace-Id": other})).status_code == 200
    assert (await bob.http.post(CHAT, json=chat(), headers={"X-Workspace-Id": workspace})).status_code == 403
    document = await people.document(ada, workspace)
    assert (await bob.http.post(CHAT, json=chat(), headers={"X-Document-Id": document["id"]})).status_code == 403


async def test_what_was_set_before_it_was_told_is_asked_for(ada, bob, workspace, provider, allow, owner):
    await allow(["dev-large"])
    await refused(ada, provider)
    owner.execute("DELETE FROM ai_proxy.workspace_models WHERE workspace_id = %s", (workspace,))
    await refused(bob, provider)
    owner.execute("DELETE FROM ai_proxy.workspace_models WHERE workspace_id = %s", (workspace,))
    await asyncio.sleep(1.1)  # nobody is asked about more often
    assert await listed(bob, workspace) == {"dev-large"}


async def test_an_unknown_setting_is_not_taken_for_none(bob, workspace, provider, owner):
    """What is known of the workspace is newer than what was told of its models."""
    owner.execute(
        "INSERT INTO ai_proxy.access_workspace (workspace_id, name, version) VALUES (%s, '', 1000) "
        "ON CONFLICT (workspace_id) DO UPDATE SET version = excluded.version", (workspace,)
    )  # fmt: skip
    answer = await bob.http.post(CHAT, json=chat(), headers={"X-Workspace-Id": workspace})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "models_unknown")
    answer = await bob.http.get("/v1/ai/models", params={"workspace_id": workspace})
    assert (answer.status_code, answer.json()["code"]) == (503, "models_unknown")
    assert provider.record.count == 0


def event(workspace, version, **data):
    return Envelope(
        id=uuid7(), type="auth-gateway.workspace.updated.v1", aggregate_id=workspace, version=version,
        time=datetime.now(UTC), data={"workspace_id": str(workspace), "name": "W", "version": version, **data},
        extensions={},
    )  # fmt: skip


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
async def test_the_newest_that_was_told_counts_in_any_order(open_database, owner, order):
    worker = await open_database("AI_PROXY_WORKER_DATABASE_URL")
    inbox, workspace = Inbox(worker, "ai_proxy", f"models-{uuid7()}", subscribers), uuid7()
    events = [event(workspace, 1, ai_models=None), event(workspace, 2, ai_models=["a", 'b"']), event(workspace, 3)]
    for at in order:
        await inbox.apply([events[at]])
    rows = owner.execute(
        "SELECT m.models, m.version, w.version FROM ai_proxy.workspace_models m JOIN ai_proxy.access_workspace w "
        "USING (workspace_id) WHERE m.workspace_id = %s", (workspace,)
    ).fetchall()  # fmt: skip
    assert rows == [(["a", 'b"'], 2, 3)], "told without it, it is unknown again"
