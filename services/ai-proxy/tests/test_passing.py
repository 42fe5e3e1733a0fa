"""What passes through unharmed, what does not, and how much of it lies in memory at once."""

import asyncio
from types import SimpleNamespace
from urllib.parse import urlsplit

import orjson
import pytest
from deploy.provider import wire as said
from deploy.provider.behaviour import Behaviour
from test_native import CHAT, MESSAGES, VERSION, chat, usage_of

from ai_proxy.routes.native import _answer
from ai_proxy.service import intake

MODELS = "/v1/ai/openai/models"


async def test_too_many_fields_in_a_query_are_refused(ada, workspace, provider):
    answer = await ada.http.post(f"{MESSAGES}?{'beta=true&' * 30}", json=chat(), headers=VERSION)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "request_refused")


async def test_a_bug_is_told_in_the_provider_s_shape_and_logged(ada, workspace, own, monkeypatch, caplog):
    def broken(_ask):
        raise RuntimeError("a bug")

    monkeypatch.setattr(own.exchanges, "open", broken)
    for path, headers in ((CHAT, {}), (MESSAGES, VERSION)):
        answer = await ada.http.post(path, json=chat(), headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
        assert "a bug" not in answer.text
    assert any("a bug" in str(getattr(record, "fields", "")) for record in caplog.records)


async def test_a_header_in_no_encoding_comes_as_it_was():
    sent = []

    async def send(message):
        sent.append(message)

    exchange = SimpleNamespace(headers={"request-id": "a\udcffž"}, streamed=False, status=200, body=b"{}")
    await _answer(exchange, send)
    assert (b"request-id", b"a\xff\xc5\xbe") in sent[0]["headers"]


async def test_bodies_of_megabytes_reach_the_provider(ada, workspace, provider):
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 3_000_000}}
    body = chat()
    body["messages"][0]["content"] = [{"type": "text", "text": "What is this?"}, image]
    answer = await ada.http.post(CHAT, json=body)
    assert answer.status_code == 200, answer.text
    assert int(provider.record.requests[-1].headers["content-length"]) > 3_000_000


async def test_neither_errors_nor_lists_name_our_account(ada, workspace, provider, monkeypatch):
    account = "org-A1b2C3d4E5f6G7h8I9j0K1l2"
    monkeypatch.setitem(said.SAID, 400, f"dev-openai-key of {account} is odd")
    answer = await ada.http.post(CHAT, json=chat("dev-400"))
    assert answer.json()["error"]["message"] == "*** of *** is odd"
    monkeypatch.setattr(said, "_model", lambda _request, name: {"id": name, "owned_by": account})
    for path in (MODELS, f"{MODELS}/dev-small"):
        answer = await ada.http.get(path)
        assert answer.status_code == 200
        assert account not in answer.text
    await usage_of(ada, 3)


async def half_sent(fleet, person):
    """A connection whose request has begun to come."""
    place = urlsplit(fleet["ai-proxy"].url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    writer.write(
        f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {person.token}\r\n"
        "Content-Length: 100000\r\n\r\n{".encode()
    )
    return reader, writer


async def test_requests_that_are_being_read_are_counted(fleet, ada, people, workspace, own, provider):
    begun = [await half_sent(fleet, ada) for _ in range(own.caps.calls_per_user)]
    try:
        async with asyncio.timeout(10):
            while sum(own.intake.users.values()) < len(begun):
                await asyncio.sleep(0.01)
        answer = await ada.http.post(CHAT, json=chat())
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, "too_many_calls")
        assert "retry-after" in answer.headers
        bob = await people.person("Bob")
        await people.join(workspace, bob, "viewer")
        assert (await bob.http.post(CHAT, json=chat())).status_code == 200
    finally:
        for _, writer in begun:
            writer.close()
    async with asyncio.timeout(10):
        while own.intake.users:
            await asyncio.sleep(0.01)
    assert (await ada.http.post(CHAT, json=chat())).status_code == 200


async def test_few_large_bodies_are_held_at_once_and_none_longer_than_needed(
    ada, workspace, own, provider, monkeypatch
):
    monkeypatch.setattr(intake, "LARGE_AT_ONCE", 1)
    provider.behaviours.set("dev-small", Behaviour(piece_seconds=0.02, tokens=5000), None)
    opened = []
    make = own.exchanges.open
    monkeypatch.setattr(own.exchanges, "open", lambda ask: opened.append(make(ask)) or opened[-1])
    large = orjson.dumps(chat(stream=True)) + b" " * (intake.LARGE_BYTES + 1)
    async with ada.http.stream("POST", CHAT, content=large) as first:
        assert first.status_code == 200
        assert (own.intake.large, opened[0]._ask.body, opened[0]._demand.body) == (0, {}, {})
        own.intake.large = 1
        refused = await ada.http.post(CHAT, content=large)
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too_many_calls")
        own.intake.large = 0
        async with ada.http.stream("POST", CHAT, content=large) as second:
            assert second.status_code == 200
    assert not own.intake.users


@pytest.mark.parametrize("name", ["x-should-retry", "request-id"])
async def test_pages_of_other_origins_may_read_what_clients_look_at(ada, fleet, name):
    answer = await ada.http.get("/v1/ai/models", headers={"Origin": "http://localhost:5173"})
    assert name in answer.headers["access-control-expose-headers"].lower().split(", ")
