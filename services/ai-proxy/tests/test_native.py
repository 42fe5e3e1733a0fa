"""Passed through: what the provider gets, what the caller gets, what is counted."""

import asyncio

import orjson

CHAT = "/v1/ai/openai/chat/completions"
MESSAGES = "/v1/ai/anthropic/messages"
VERSION = {"anthropic-version": "2023-06-01"}


def chat(model="dev-small", text="What is a fox?", **fields):
    return {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 200, **fields}


async def usage_of(person, calls=1):
    """The caller's own usage today, once so many calls are counted."""
    async with asyncio.timeout(10):
        while True:
            answer = await person.http.get("/v1/ai/usage")
            assert answer.status_code == 200, answer.text
            items = answer.json()["items"]
            if items and items[-1]["calls"] >= calls:
                return answer.json()
            await asyncio.sleep(0.02)


async def test_a_chat_is_answered_and_counted(ada, workspace, provider):
    answer = await ada.http.post(CHAT, json=chat())
    assert answer.status_code == 200, answer.text
    told = answer.json()["usage"]
    used = await usage_of(ada)
    assert used["items"][0]["tokens"] == told["total_tokens"]
    assert used["models"][0]["output_tokens"] == told["completion_tokens"]
    headers = provider.record.requests[-1].headers
    assert headers["authorization"] == "Bearer dev-openai-key"
    assert ada.token not in str(headers)
    assert not {"cookie", "x-forwarded-for", "x-request-id", "traceparent", "x-workspace-id"} & headers.keys()


async def test_a_stream_is_what_it_would_be_without_us(ada, workspace, provider):
    async with ada.http.stream("POST", CHAT, json=chat(stream=True)) as answer:
        assert answer.status_code == 200
        data = b"".join([chunk async for chunk in answer.aiter_raw()])
    assert b'"usage"' not in data
    assert data.rstrip().endswith(b"data: [DONE]")
    assert provider.record.requests[-1].body["stream_options"] == {"include_usage": True}
    assert (await usage_of(ada))["items"][0]["tokens"] > 0


async def test_messages_stream(ada, workspace, provider):
    async with ada.http.stream("POST", MESSAGES, json=chat(stream=True), headers=VERSION) as answer:
        assert answer.status_code == 200
        data = b"".join([chunk async for chunk in answer.aiter_raw()])
    events = [orjson.loads(line[5:]) for line in data.splitlines() if line.startswith(b"data:")]
    assert (events[0]["type"], events[-1]["type"]) == ("message_start", "message_stop")
    used = (await usage_of(ada))["models"][0]
    assert used["output_tokens"] == events[-2]["usage"]["output_tokens"]
