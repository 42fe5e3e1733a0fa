"""Providers that fail in every way: the caller is told in the provider's words, and what was used is counted."""

import asyncio
import time
from dataclasses import replace

import orjson
import pytest
from deploy.provider.behaviour import Behaviour
from test_native import CHAT, MESSAGES, VERSION, chat, usage_of

from ai_proxy.domain.reckoning import UNSEEN_TOKENS_A_SECOND
from ai_proxy.providers import line
from ai_proxy.service import exchange
from common.client import BREAK_SECONDS


@pytest.fixture
def patience(own, monkeypatch):
    """Sets how long providers are waited for."""

    def patient(**seconds):
        monkeypatch.setattr(own.exchanges.line, "_patience", replace(own.exchanges.line._patience, **seconds))

    own.exchanges.line._breakers.clear()
    return patient


async def read(person, path, body, headers=None):
    async with person.http.stream("POST", path, json=body, headers=headers or {}) as answer:
        return answer, b"".join([chunk async for chunk in answer.aiter_raw()])


def events(data):
    return [
        orjson.loads(line[5:]) for line in data.splitlines() if line.startswith(b"data:") and line != b"data: [DONE]"
    ]


def outcomes(owner, person):
    rows = owner.execute(
        "SELECT outcome, output_tokens, estimated, status FROM ai_proxy.usage WHERE user_id = %s ORDER BY at",
        (person.id,),
    )
    return rows.fetchall()


async def last_outcome(owner, person, calls=1):
    await usage_of(person, calls)
    return outcomes(owner, person)[-1]


async def test_errors_of_the_provider_come_in_its_words_without_its_secrets(ada, workspace, provider, patience, owner):
    patience(attempts=1)
    for model, status in (("dev-400", 400), ("dev-429", 429), ("dev-500", 500), ("dev-503", 503)):
        answer = await ada.http.post(CHAT, json=chat(model))
        assert (answer.status_code, "message" in answer.json()["error"]) == (status, True)
    answer = await ada.http.post(MESSAGES, json=chat("dev-529"), headers=VERSION)
    assert (answer.status_code, answer.json()["type"]) == (529, "error")
    used = await usage_of(ada, 5)
    assert used["items"][0]["tokens"] == 0, "what was refused costs nothing"
    answer = await ada.http.post(CHAT, json=chat("dev-401"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "provider_refused_key")
    assert "dev-openai" not in answer.text


async def test_asked_again_before_the_first_byte_only(ada, workspace, provider, patience):
    patience(attempts=3)
    provider.behaviours.set("dev-small", Behaviour(status=503, retry_after=0), 2)
    assert (await ada.http.post(CHAT, json=chat())).status_code == 200
    assert provider.record.count == 3
    provider.record.clear()
    provider.behaviours.set("dev-small", Behaviour(status=429, retry_after=60), 1)
    answer = await ada.http.post(CHAT, json=chat())
    assert (answer.status_code, answer.headers["retry-after"], provider.record.count) == (429, "60", 1)
    provider.record.clear()
    answer, _ = await read(ada, CHAT, chat("dev-half", stream=True))
    assert (answer.status_code, provider.record.count) == (200, 1)


@pytest.mark.parametrize(("path", "headers"), [(CHAT, {}), (MESSAGES, VERSION)])
async def test_half_a_stream_ends_with_an_error_and_is_counted(ada, workspace, provider, owner, path, headers):
    provider.behaviours.set("dev-half", Behaviour(fault="half", pieces=8, tokens=16), None)
    asked = time.monotonic()
    answer, data = await read(ada, path, chat("dev-half", stream=True), headers)
    dark = UNSEEN_TOKENS_A_SECOND * (time.monotonic() - asked)
    assert answer.status_code == 200
    last = events(data)[-1]
    assert "error" in last
    outcome, written, estimated, _ = await last_outcome(owner, ada)
    assert (outcome, estimated) == ("broken", True)
    assert 8 <= written <= 16 + dark


async def test_garbage_is_no_answer(ada, workspace, provider, owner, patience):
    answer = await ada.http.post(CHAT, json=chat("dev-garbage"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "provider_broken")
    answer, data = await read(ada, CHAT, chat("dev-garbage", stream=True))
    assert events(data)[-1]["error"]["code"] == "provider_broken"
    assert {one[0] for one in outcomes(owner, ada)} == {"broken"}


async def test_half_an_answer_and_a_closed_line(ada, workspace, provider, patience):
    patience(attempts=2)
    for model in ("dev-half", "dev-disconnect"):
        answer = await ada.http.post(CHAT, json=chat(model))
        assert answer.status_code in (502, 503)
        assert answer.json()["error"]["code"] in ("provider_broken", "provider_unreachable")


async def test_silence_and_a_stall_are_waited_for_so_long(ada, workspace, provider, patience, owner):
    patience(first_byte=1.0, idle=1.0)
    answer = await ada.http.post(CHAT, json=chat("dev-silent"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "provider_timeout")
    answer = await ada.http.post(MESSAGES, json=chat("dev-silent"), headers=VERSION)
    assert answer.json()["error"]["type"] == "timeout_error"
    answer, data = await read(ada, CHAT, chat("dev-stall", stream=True))
    assert events(data)[-1]["error"]["code"] == "provider_timeout"
    outcome, written, *_ = await last_outcome(owner, ada, 3)
    assert outcome == "timeout"
    assert written > 0


@pytest.mark.parametrize("model", ["dev-endless", "dev-flood"])
async def test_an_endless_stream_ends(ada, workspace, provider, owner, own, monkeypatch, model):
    monkeypatch.setattr(own.exchanges, "terms", replace(own.exchanges.terms, answer_limit=8_000))
    provider.behaviours.set(model, Behaviour(fault=model[4:]), None)
    _, data = await read(ada, CHAT, chat(model, stream=True))
    assert events(data)[-1]["error"]["code"] == "answer_too_long"
    assert await provider.record.until(lambda: provider.record.open == 0, 5)
    outcome, _, estimated, _ = await last_outcome(owner, ada)
    assert (outcome, estimated) == ("cut", True)


async def test_a_stream_is_cut_after_its_longest_time(ada, workspace, provider, patience, owner):
    patience(total=1.5)
    _, data = await read(ada, MESSAGES, chat("dev-endless", stream=True), VERSION)
    assert events(data)[-1]["error"]["type"] == "timeout_error"
    assert (await last_outcome(owner, ada))[0] == "timeout"


async def test_redirects_lead_nowhere(ada, workspace, provider):
    answer = await ada.http.post(CHAT, json=chat("dev-redirect"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "provider_broken")
    assert "location" not in answer.headers


@pytest.mark.parametrize("stream", [True, False])
async def test_who_goes_takes_the_provider_s_line_along(ada, workspace, provider, owner, stream):
    provider.behaviours.set(
        "dev-small", Behaviour(piece_seconds=0.02, tokens=5000) if stream else Behaviour(first_byte_seconds=30), None
    )
    begun = time.monotonic()
    asked = asyncio.create_task(_until_some(ada, chat(max_tokens=4000, stream=stream)))
    assert await provider.record.until(lambda: provider.record.open == 1, 5)
    if stream:
        await asked
    else:
        asked.cancel()
    left = time.monotonic()
    received = provider.record.requests[-1]
    assert await provider.record.until(lambda: received.end != "open", 5)
    assert received.ended - left < 3.0, "a second, on a machine that has nothing else to do"
    outcome, written, estimated, _ = await last_outcome(owner, ada)
    assert (outcome, estimated) == ("aborted", True)
    if stream:
        dark = UNSEEN_TOKENS_A_SECOND * (left - begun)
        assert 3 <= written <= received.pieces * 2 + dark, "estimated: four bytes are a token"


async def _until_some(person, body):
    async with person.http.stream("POST", CHAT, json=body) as answer:
        seen = 0
        async for chunk in answer.aiter_raw():
            seen += chunk.count(b"data:")
            if seen > 5:
                break


async def test_a_revoked_session_loses_its_stream(ada, workspace, provider, people, owner):
    other = await people.sign_in(ada)
    provider.behaviours.set("dev-small", Behaviour(piece_seconds=0.02, tokens=5000), None)
    asked = asyncio.create_task(read(ada, CHAT, chat(max_tokens=4000, stream=True)))
    async with asyncio.timeout(5):
        while not (provider.record.requests and provider.record.requests[-1].pieces > 3):
            await asyncio.sleep(0.01)
    answer = await other.http.delete(f"/v1/auth/sessions/{ada.session_id}")
    assert answer.status_code in (200, 204), answer.text
    _, data = await asyncio.wait_for(asked, 5)
    assert events(data)[-1]["error"]["code"] == "call_ended"
    await usage_of(other)
    assert outcomes(owner, ada)[-1][0] == "revoked"


async def test_a_fallback_answers_and_is_what_is_counted(ada, workspace, provider, own, monkeypatch, patience):
    patience(attempts=1)
    openai = own.catalog.providers["openai"]
    monkeypatch.setitem(own.catalog.providers, "openai", replace(openai, fallbacks={"dev-503": "dev-small"}))
    answer = await ada.http.post(CHAT, json=chat("dev-503"))
    assert (answer.status_code, answer.json()["model"]) == (200, "dev-small")
    assert (await usage_of(ada))["models"][0]["model"] == "dev-small"


async def test_a_provider_that_is_away_is_not_asked_for_a_while(ada, workspace, own, patience, monkeypatch):
    patience(attempts=5, connect=0.5)
    monkeypatch.setattr(line, "FIRST_PAUSE_SECONDS", 0.01)
    openai = own.catalog.providers["openai"]
    away = replace(openai, name="away", base_url="http://127.0.0.1:9/v1", models=frozenset(("away-model",)))
    monkeypatch.setitem(own.catalog.providers, "away", away)
    first = await ada.http.post(CHAT, json=chat("away-model"))
    second = await ada.http.post(CHAT, json=chat("away-model"))
    assert [one.json()["error"]["code"] for one in (first, second)] == ["provider_unreachable"] * 2
    assert second.status_code == 503
    [breaker] = own.exchanges.line._breakers.values()
    assert breaker._failures == 5, "the second was not tried"
    assert (await usage_of(ada, 2))["items"][0]["tokens"] == 0


async def test_whose_own_key_or_model_fails_stops_nobody_else(people, ada, workspace, provider, patience):
    patience(attempts=1)
    bob = await people.person("Bob")
    await people.join(workspace, bob, "editor")
    assert (await ada.http.put("/v1/ai/keys/openai", json={"key": "dev-own-abcdefgh"})).status_code in (200, 201)
    provider.behaviours.set("dev-small", Behaviour(status=500), 5)
    for status in (500, 500, 500, 500, 500, 503):
        assert (await ada.http.post(CHAT, json=chat())).status_code == status
    assert (await bob.http.post(CHAT, json=chat())).status_code == 200, "with our key"
    provider.behaviours.set("dev-small", Behaviour(status=500), 5)
    for status in (500, 500, 500, 500, 500, 503):
        assert (await bob.http.post(CHAT, json=chat())).status_code == status
    assert (await bob.http.post(CHAT, json=chat("dev-large"))).status_code == 200, "another model"
    await asyncio.sleep(BREAK_SECONDS)
    for _ in range(6):
        assert (await bob.http.post(CHAT, json=chat("dev-429"))).status_code == 429, "it is there"


async def test_a_provider_may_say_nothing_of_usage(ada, workspace, provider, owner):
    await read(ada, CHAT, chat("dev-no-usage", stream=True))
    outcome, written, estimated, _ = await last_outcome(owner, ada)
    assert (outcome, estimated) == ("completed", True)
    assert written > 0


@pytest.mark.parametrize(("path", "fields"), [(CHAT, {"n": 2}), (MESSAGES, {})])
async def test_what_a_model_thinks_before_it_answers_is_counted(
    ada, workspace, provider, owner, patience, path, fields
):
    patience(idle=0.5)
    provider.behaviours.set("dev-small", Behaviour(fault="stall", pieces=0), None)
    await read(ada, path, chat(stream=True, max_tokens=4000, **fields), VERSION)
    outcome, written, estimated, _ = await last_outcome(owner, ada)
    assert (outcome, estimated) == ("timeout", True)
    assert written >= 50 * fields.get("n", 1)


@pytest.mark.parametrize(("path", "stream"), [(CHAT, True), (CHAT, False), (MESSAGES, True), (MESSAGES, False)])
async def test_a_provider_that_says_nothing_was_used_is_not_believed(ada, workspace, provider, owner, path, stream):
    provider.behaviours.set("dev-small", Behaviour(usage="zero"), None)
    await read(ada, path, chat(stream=stream), VERSION)
    outcome, written, estimated, _ = await last_outcome(owner, ada)
    assert (outcome, estimated) == ("completed", True)
    assert 0 < written <= 200
    read_ = owner.execute("SELECT input_tokens FROM ai_proxy.usage WHERE user_id = %s", (ada.id,)).fetchone()
    assert read_[0] > 10


@pytest.mark.parametrize("path", [CHAT, MESSAGES, "/v1/ai/openai/responses"])
async def test_an_error_within_a_stream_is_no_completed_call(ada, workspace, provider, owner, path):
    provider.behaviours.set("dev-small", Behaviour(fault="error", pieces=8, tokens=16), None)
    body = {"model": "dev-small", "input": "x", "stream": True}
    _, data = await read(ada, path, body if path.endswith("responses") else chat(stream=True), VERSION)
    assert [b"error" in line for line in data.split(b"\n\n") if b"data:" in line][-2:] == [False, True], "once"
    outcome, written, estimated, _ = await last_outcome(owner, ada)
    assert (outcome, estimated) == ("failed", True)
    assert written >= 8


async def test_a_model_nobody_has_a_price_for_is_not_asked(ada, workspace, provider, own, monkeypatch):
    catalog = own.exchanges.catalog
    monkeypatch.setattr(own.exchanges, "catalog", replace(catalog, prices=replace(catalog.prices, unknown=None)))
    assert (await ada.http.post(CHAT, json=chat("dev-small"))).status_code == 200
    for model in ("dev-words-5", "gpt-4o-search-preview"):
        answer = await ada.http.post(CHAT, json=chat(model))
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "request_refused")
    assert provider.record.count == 1


async def test_a_fallback_is_asked_as_it_wants_to_be(ada, workspace, provider, own, monkeypatch, patience):
    patience(attempts=1)
    openai = own.catalog.providers["openai"]
    plain = replace(openai, name="plain", models=frozenset(("dev-large",)), stream_usage=False)
    monkeypatch.setitem(own.catalog.providers, "plain", plain)
    monkeypatch.setitem(own.catalog.providers, "openai", replace(openai, fallbacks={"dev-503": "dev-large"}))
    answer, _ = await read(ada, CHAT, chat("dev-503", stream=True))
    assert answer.status_code == 200
    assert ["stream_options" in one.body for one in provider.record.requests] == [True, False]


async def test_a_session_that_ends_before_anybody_could_tell(ada, workspace, provider, own, owner, monkeypatch):
    reserve = own.meter.reserve

    async def slow(*args):
        reserved = await reserve(*args)
        own.exchanges.places._revocations.add(f"session:{ada.session_id}", 2.0**40)
        return reserved

    monkeypatch.setattr(own.meter, "reserve", slow)
    answer = await asyncio.wait_for(ada.http.post(CHAT, json=chat()), 10)
    assert (answer.status_code, provider.record.count) == (403, 0)
    async with asyncio.timeout(10):
        while not (found := outcomes(owner, ada)):
            await asyncio.sleep(0.02)
    assert found[-1][:2] == ("revoked", 0)


async def test_a_process_that_stops_lets_calls_finish_for_a_while(ada, workspace, provider, own, owner, monkeypatch):
    monkeypatch.setattr(exchange, "DRAIN_SECONDS", 0.2, raising=False)
    provider.behaviours.set("dev-small", Behaviour(piece_seconds=0.02, tokens=5000), None)
    asked = asyncio.create_task(read(ada, CHAT, chat(max_tokens=4000, stream=True)))
    async with asyncio.timeout(10):
        while not (provider.record.requests and provider.record.requests[-1].pieces > 3):
            await asyncio.sleep(0.01)
    for connection in own.exchanges.connections._all():
        connection.close("draining")
    _, data = await asyncio.wait_for(asked, 10)
    assert events(data)[-1]["error"]["code"] == "call_ended"
    assert (await last_outcome(owner, ada))[0] == "aborted"


async def test_of_what_nobody_can_tell_the_use_is_counted_by_its_reservation(
    ada, workspace, provider, own, owner, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(exchange.Exchange, "_ending", lambda _: 1 // 0)
        answer = await ada.http.post(CHAT, json=chat())
        assert answer.status_code == 200
        [left] = owner.execute("SELECT id FROM ai_proxy.reservation WHERE user_id = %s", (ada.id,)).fetchall()
        async with asyncio.timeout(10):
            while left[0] in own.meter._running:
                await asyncio.sleep(0.02)
    back = "UPDATE ai_proxy.reservation SET created_at = created_at - interval '1 hour' WHERE user_id = %s"
    owner.execute(back, (ada.id,))
    await own.meter.beat()
    monkeypatch.setattr(own.meter, "_steady_since", 0.0)
    await own.meter.reap()
    assert (await last_outcome(owner, ada))[0] == "crashed"


async def test_who_uses_more_than_can_be_is_in_the_log(ada, workspace, provider, caplog):
    body = chat("dev-overrun", text="fox " * 300)
    assert (await ada.http.post(CHAT, json=body)).status_code == 200
    await usage_of(ada)
    assert "a call used more than it could" in caplog.text
    assert "fox" not in caplog.text
