"""What is down: nothing is passed on uncounted, and whoever waits is told in the provider's words."""

import pytest
from test_native import CHAT, MESSAGES, VERSION, chat, usage_of

from common.client import PeerUnavailableError
from common.database import Database

PREFLIGHT = {
    "Origin": "http://localhost:5173",
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type,x-stainless-lang,x-workspace-id",
}


@pytest.fixture
async def gone():
    """A database that is away."""
    database = Database("postgresql://nobody@127.0.0.1:1/none", max_size=1, timeout=0.2)
    await database.open()
    yield database
    await database.close()


async def test_without_the_database_nothing_is_passed_on(ada, workspace, provider, own, monkeypatch, gone):
    assert (await ada.http.post(CHAT, json=chat())).status_code == 200
    await usage_of(ada)
    provider.record.clear()
    monkeypatch.setattr(own.meter, "_database", gone)
    answer = await ada.http.post(CHAT, json=chat())
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "database_unavailable")
    answer = await ada.http.post(MESSAGES, json=chat(), headers=VERSION)
    assert (answer.status_code, answer.json()["error"]["type"]) == (503, "overloaded_error")
    assert "retry-after" in answer.headers
    assert provider.record.count == 0


async def test_a_call_whose_end_cannot_be_counted_is_counted_later(ada, workspace, provider, own, monkeypatch, gone):
    right, reserve = own.meter._database, own.meter.reserve

    async def then_away(*given):
        reserved = await reserve(*given)
        monkeypatch.setattr(own.meter, "_database", gone)
        return reserved

    monkeypatch.setattr(own.meter, "reserve", then_away)
    assert (await ada.http.post(CHAT, json=chat())).status_code == 200
    monkeypatch.setattr(own.meter, "_database", right)
    assert (await usage_of(ada))["items"][0]["tokens"] > 0


@pytest.mark.parametrize("peer", ["documents", "files"])
async def test_without_those_who_have_the_texts(people, ada, workspace, provider, fleet, monkeypatch, peer):
    document = await people.document(ada, workspace)
    client = fleet["ai-proxy"].app.state.platform.client
    ask = {"get": client.get, "post": client.post}

    def without(verb):
        async def asked(service, *given, **more):
            if service == peer:
                raise PeerUnavailableError
            return await ask[verb](service, *given, **more)

        return asked

    for verb in ask:
        monkeypatch.setattr(client, verb, without(verb))
    body = {"action": "ask", "instructions": "?"}
    body |= {"document_id": document["id"]} if peer == "documents" else {"context_file_ids": [document["id"]]}
    answer = await ada.http.post("/v1/ai/assist", json=body)
    assert (answer.status_code, answer.json()["code"]) == (503, "peer_unavailable")
    if peer == "documents":
        answer = await ada.http.post(CHAT, json=chat(), headers={"X-Document-Id": document["id"]})
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "peer_unavailable")
    assert (await ada.http.post(CHAT, json=chat())).status_code == 200


async def test_browsers_may_send_what_official_clients_send(people, provider):
    answer = await people.client().options(CHAT, headers=PREFLIGHT)
    assert answer.status_code == 200, answer.text
