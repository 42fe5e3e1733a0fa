"""Budgets and usage as people set and see them."""

import asyncio

import pytest
from test_native import CHAT, MESSAGES, VERSION, chat, usage_of

BUDGETS = "/v1/ai/budgets"


@pytest.fixture
async def bob(people, workspace):
    bob = await people.person("Bob")
    await people.join(workspace, bob, "editor")
    return bob


async def put(person, **body):
    return await person.http.put(BUDGETS, json=body)


async def test_a_budget_is_set_by_who_manages_and_holds_for_all(people, ada, bob, workspace, provider):
    assert (await put(bob, scope="workspace", workspace_id=workspace)).status_code == 403
    answer = await put(ada, scope="workspace", workspace_id=workspace, day={"tokens": 10})
    assert answer.status_code == 200, answer.text
    assert answer.json()["day"]["limit_tokens"] == 10
    answer = await bob.http.post(CHAT, json=chat())
    assert answer.status_code == 429
    assert (answer.json()["error"]["type"], answer.json()["error"]["code"]) == ("insufficient_quota", "budget_exceeded")
    assert (answer.headers["x-should-retry"], provider.record.count) == ("false", 0)
    answer = await bob.http.post(MESSAGES, json=chat(), headers=VERSION)
    assert (answer.status_code, answer.json()["error"]["type"]) == (429, "rate_limit_error")
    assert (await put(ada, scope="workspace", workspace_id=workspace, day={"tokens": 100_000})).status_code == 200
    assert (await bob.http.post(CHAT, json=chat())).status_code == 200
    await usage_of(bob)
    listed = (await bob.http.get(BUDGETS, params={"workspace_id": workspace})).json()["items"]
    assert [one["scope"] for one in listed] == ["user", "user", "workspace"]
    assert listed[2]["day"]["spent_tokens"] == listed[0]["day"]["spent_tokens"] > 0
    assert listed[2]["day"]["reserved_tokens"] == 0
    assert listed[2]["month"]["ceiling_micro_usd"] == 1_000_000_000


async def test_a_member_s_a_document_s_and_one_s_own(people, ada, bob, workspace, provider):
    document = await people.document(ada, workspace)
    stranger = await people.person("Sam")
    about = {"scope": "user", "workspace_id": workspace, "user_id": str(bob.id)}
    assert (await put(bob, **about)).status_code == 403
    assert (await put(ada, scope="user", user_id=str(bob.id))).status_code == 422
    assert (await put(ada, **{**about, "user_id": str(stranger.id)})).status_code == 404
    assert (await put(stranger, scope="document", document_id=document["id"])).status_code == 404
    assert (await put(ada, **about, month={"micro_usd": 0})).status_code == 200
    assert (await bob.http.post(CHAT, json=chat())).status_code == 429
    assert (await ada.http.post(CHAT, json=chat())).status_code == 200
    assert (await put(ada, **about)).status_code == 200
    assert (await bob.http.post(CHAT, json=chat())).status_code == 200
    assert (await put(ada, scope="document", document_id=document["id"], day={"tokens": 1})).status_code == 200
    place = {"X-Document-Id": document["id"]}
    assert (await bob.http.post(CHAT, json=chat(), headers=place)).status_code == 429
    assert (await bob.http.post(CHAT, json=chat())).status_code == 200
    assert (await put(bob, scope="user", day={"tokens": 1})).status_code == 200
    assert (await bob.http.post(CHAT, json=chat())).status_code == 429
    listed = (await bob.http.get(BUDGETS, params={"document_id": document["id"]})).json()["items"]
    assert [one["day"]["limit_tokens"] for one in listed] == [1, None, None, 1]
    seen = await ada.http.get(BUDGETS, params={"workspace_id": workspace, "user_id": str(bob.id)})
    assert [one["user_id"] for one in seen.json()["items"]] == [str(bob.id), None]
    assert (await bob.http.get(BUDGETS, params={"workspace_id": workspace, "user_id": str(ada.id)})).status_code == 403


async def test_ai_is_switched_off_and_models_are_chosen(ada, bob, workspace, provider):
    assert (await put(ada, scope="workspace", workspace_id=workspace, enabled=False)).status_code == 200
    for path, headers in ((CHAT, {}), (MESSAGES, VERSION)):
        answer = await bob.http.post(path, json=chat(), headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "ai_off")
    answer = await bob.http.post("/v1/ai/assist", json={"action": "fix", "selection": "teh", "workspace_id": workspace})
    assert (answer.status_code, answer.json()["code"]) == (403, "ai_off")
    assert (await bob.http.get("/v1/ai/openai/models")).status_code == 403
    answer = await bob.http.get("/v1/ai/models", params={"workspace_id": workspace})
    assert answer.json()["items"] == []
    assert provider.record.count == 0
    await put(ada, scope="workspace", workspace_id=workspace, models=["dev-large"])
    answer = await bob.http.post(CHAT, json=chat())
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "model_not_allowed")
    assert (await bob.http.post(CHAT, json=chat("dev-large"))).status_code == 200
    for model, status in (("dev-small", 403), ("dev-large", 200)):
        body = {"model": model, "messages": [{"role": "user", "content": "x"}]}
        assert (await bob.http.post(f"{MESSAGES}/count_tokens", json=body, headers=VERSION)).status_code == status
    body |= {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}
    assert (await bob.http.post(f"{MESSAGES}/count_tokens", json=body, headers=VERSION)).status_code == 400


async def test_who_changes_a_budget_is_in_the_audit_log(ada, workspace, provider):
    await put(ada, scope="workspace", workspace_id=workspace, enabled=False)
    await put(ada, scope="workspace", workspace_id=workspace, day={"tokens": 5})
    await ada.http.put(f"/v1/ai/keys/openai?workspace_id={workspace}", json={"key": "dev-own-abcdefgh"})
    wanted = ["ai-proxy.budget.changed.v1", "ai-proxy.budget.changed.v1", "ai-proxy.key.stored.v1"]
    async with asyncio.timeout(15):
        while True:
            answer = await ada.http.get("/v1/sync/log", params={"workspace_id": workspace, "limit": 200})
            found = [one for one in answer.json()["items"] if one["type"].startswith("ai-proxy.")]
            if len(found) == len(wanted):
                break
            await asyncio.sleep(0.05)
    assert sorted(one["type"] for one in found) == wanted
    assert {one["actor"] for one in found} == {str(ada.id)}


async def test_usage_is_one_s_own_or_of_what_one_manages(people, ada, bob, workspace, provider):
    await bob.http.post(CHAT, json=chat())
    mine = await usage_of(bob)
    assert mine["models"][0] == {
        "provider": "openai", "model": "dev-small", "calls": 1,
        "input_tokens": mine["models"][0]["input_tokens"], "output_tokens": mine["models"][0]["output_tokens"],
        "micro_usd": mine["items"][0]["micro_usd"],
    }  # fmt: skip
    place = {"workspace_id": workspace}
    assert (await bob.http.get("/v1/ai/usage", params={"scope": "workspace", **place})).status_code == 403
    whole = (await ada.http.get("/v1/ai/usage", params={"scope": "workspace", "period": "month", **place})).json()
    assert whole["items"][0]["tokens"] == mine["items"][0]["tokens"]
    his = await ada.http.get("/v1/ai/usage", params={"user_id": str(bob.id), **place})
    assert his.json()["models"] == mine["models"]
    assert (await ada.http.get("/v1/ai/usage", params={"user_id": str(bob.id)})).status_code == 422
    sam = await people.person("Sam")
    assert (await sam.http.get("/v1/ai/usage", params={"scope": "workspace", **place})).status_code == 404
    past = await ada.http.get("/v1/ai/usage", params={"scope": "workspace", "until": "2001-01-01", **place})
    assert past.json()["items"] == []
    assert (await ada.http.get("/v1/ai/usage", params={"until": "0001-01-01"})).status_code == 200


async def test_models_have_prices(ada, workspace):
    listed = (await ada.http.get("/v1/ai/models")).json()
    known = {one["id"]: one for one in listed["items"]}
    assert known["gpt-4o"]["input_usd"] == 2.5
    assert known["claude-haiku-4-5"]["wire"] == "anthropic"
    assert listed["prices_as_of"]
