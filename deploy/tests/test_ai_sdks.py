"""The official SDKs (PyPI and npm, OpenAI and Anthropic) by base URL and token alone.

Against the development provider, so that it is true to the wire, through ai-proxy to it, and through nginx to both.
"""

import base64
import secrets
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import openai
import pytest
import pytest_asyncio
from deploy.client import Api
from deploy.provider import pointing, sdks
from deploy.provider.server import Running
from deploy.tests import processes
from deploy.tests.ai_doors import ANSWER, PNG, QUESTION, Door, direct, proxied

from common.testing.fleet import Fleet
from common.testing.people import People

MESSAGES: Any = [{"role": "user", "content": QUESTION}]
ASKS_TOOL: Any = [{"role": "user", "content": "Use weather for Paris"}]
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL: Any = {"type": "function", "function": {"name": "weather", "parameters": PARAMETERS}}
IMAGE = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
SERVICES = ("auth-gateway", "documents", "files", "ai-proxy")
THROUGH_GATEWAY = pytest.param("gateway", marks=[pytest.mark.slow, pytest.mark.timeout(300)])


@pytest_asyncio.fixture(scope="module", params=["direct", "ai-proxy", THROUGH_GATEWAY])
async def door(
    request: pytest.FixtureRequest, provider: Running, fleet: Fleet, people: People, environment: dict[str, str]
) -> AsyncIterator[Door]:
    provider.record.clear()
    provider.behaviours.clear()
    if request.param == "direct":
        yield direct(provider)
    elif request.param == "ai-proxy":
        yield proxied(fleet["ai-proxy"].url, (await people.person("Ada")).token, provider)
    else:
        with processes.fleet(environment, SERVICES) as started:
            for process in started.processes.values():
                await process.start()
            await started.until_ready()
            async with Api(started.url) as api:
                address = f"sdk-{secrets.token_hex(4)}@example.org"
                person = await api.sign_up(address, secrets.token_hex(16), "Ada")
                yield proxied(started.url, person.token, provider)
            assert not started["ai-proxy"].complaints()


async def test_a_chat_is_the_same_whole_and_streamed(door: Door) -> None:
    async with door.openai() as client:
        whole = await client.chat.completions.create(model="dev-small", messages=MESSAGES, max_tokens=100)
        stream = await client.chat.completions.create(
            model="dev-small", messages=MESSAGES, max_tokens=100, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert whole.choices[0].message.content == text == ANSWER
    assert whole.choices[0].finish_reason == chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage == whole.usage
    assert not chunks[-1].choices


async def test_usage_is_in_a_stream_only_if_asked_for(door: Door) -> None:
    async with door.openai() as client:
        stream = await client.chat.completions.create(model="dev-small", messages=MESSAGES, max_tokens=100, stream=True)
        assert [chunk async for chunk in stream if chunk.usage] == []


async def test_a_chat_calls_a_tool_and_answers_with_its_result(door: Door) -> None:
    async with door.openai() as client:
        async with client.chat.completions.stream(
            model="dev-small", messages=ASKS_TOOL, max_tokens=100, tools=[TOOL]
        ) as stream:
            final = await stream.get_final_completion()
        message = final.choices[0].message
        assert message.tool_calls
        call = message.tool_calls[0]
        assert (final.choices[0].finish_reason, call.function.name) == ("tool_calls", "weather")
        assert call.function.arguments == '{"city":"Use weather for Paris"}'
        turns = [*ASKS_TOOL, message.model_dump(exclude_none=True, exclude={"parsed"}),
                 {"role": "tool", "tool_call_id": call.id, "content": "22 degrees"}]  # fmt: skip
        for turn in turns[1:2]:
            for made in turn["tool_calls"]:
                made["function"].pop("parsed_arguments", None)
        after = await client.chat.completions.create(model="dev-small", messages=turns, max_tokens=100, tools=[TOOL])
    assert after.choices[0].message.content == "The tool answered: 22 degrees"


async def test_images_reach_both(door: Door) -> None:
    async with door.openai() as client, door.anthropic() as other:
        parts: Any = [{"type": "text", "text": "See"}, {"type": "image_url", "image_url": {"url": IMAGE}}]
        one = await client.chat.completions.create(
            model="dev-small", messages=[{"role": "user", "content": parts}], max_tokens=100
        )
        source = {"type": "base64", "media_type": "image/png", "data": IMAGE.partition(",")[2]}
        two = await other.messages.create(
            model="dev-small",
            max_tokens=100,
            messages=[{"role": "user", "content": [{"type": "image", "source": source}]}],  # type: ignore[typeddict-item, list-item]
        )
    seen = f"image/png, {len(PNG)} bytes"
    assert seen in (one.choices[0].message.content or "")
    assert two.content[0].type == "text"
    assert seen in two.content[0].text


async def test_responses_are_the_same_whole_and_streamed(door: Door) -> None:
    async with door.openai() as client:
        whole = await client.responses.create(model="dev-small", input=QUESTION, max_output_tokens=100)
        async with client.responses.stream(model="dev-small", input=QUESTION, max_output_tokens=100) as stream:
            events = [event async for event in stream]
            final = await stream.get_final_response()
        cut = await client.responses.create(model="dev-small", input=QUESTION, max_output_tokens=2)
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert whole.output_text == final.output_text == "".join(deltas) == ANSWER
    assert whole.usage == final.usage
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert (cut.status, cut.usage.output_tokens if cut.usage else None) == ("incomplete", 2)


async def test_embeddings_of_alike_texts_lie_near_each_other(door: Door) -> None:
    async with door.openai() as client:
        answer = await client.embeddings.create(model="dev-embed", input=["a red fox", "a fox, red", "taxes"])
        short = await client.embeddings.create(
            model="dev-embed", input="a red fox", dimensions=64, encoding_format="float"
        )
    one, two, three = (item.embedding for item in answer.data)
    assert _dot(one, two) > 0.99
    assert _dot(one, three) < 0.3
    assert (len(one), len(short.data[0].embedding)) == (1536, 64)
    assert answer.usage.total_tokens == 8


def _dot(one: list[float], two: list[float]) -> float:
    return sum(left * right for left, right in zip(one, two, strict=True))


async def test_models_are_listed(door: Door) -> None:
    async with door.openai() as client, door.anthropic() as other:
        listed = [model.id async for model in client.models.list()]
        listed_there = [model.id async for model in other.models.list()]
    assert {"dev-small", "dev-embed"} <= set(listed) & set(listed_there)


async def test_a_message_is_the_same_whole_streamed_and_counted(door: Door) -> None:
    async with door.anthropic() as client:
        whole = await client.messages.create(model="dev-small", messages=MESSAGES, max_tokens=100)
        async with client.messages.stream(model="dev-small", messages=MESSAGES, max_tokens=100) as stream:
            text = "".join([text async for text in stream.text_stream])
            final = await stream.get_final_message()
        counted = await client.messages.count_tokens(model="dev-small", messages=MESSAGES)
        cut = await client.messages.create(model="dev-small", messages=MESSAGES, max_tokens=3)
    assert whole.content[0].type == "text"
    assert whole.content[0].text == text == ANSWER
    assert final.content[0].model_dump(exclude={"parsed_output"}) == whole.content[0].model_dump()
    assert final.stop_reason == whole.stop_reason == "end_turn"
    assert whole.usage.input_tokens == final.usage.input_tokens == counted.input_tokens
    assert whole.usage.output_tokens == final.usage.output_tokens
    assert (cut.stop_reason, cut.usage.output_tokens) == ("max_tokens", 3)


async def test_a_message_calls_a_tool(door: Door) -> None:
    tool: Any = {"name": "weather", "input_schema": PARAMETERS}
    async with (
        door.anthropic() as client,
        client.messages.stream(model="dev-small", messages=ASKS_TOOL, max_tokens=100, tools=[tool]) as stream,
    ):
        final = await stream.get_final_message()
    called = final.content[0]
    assert called.type == "tool_use"
    assert (final.stop_reason, called.name, called.input) == ("tool_use", "weather", {"city": "Use weather for Paris"})


async def test_strangers_are_refused_in_the_shape_the_sdks_know(door: Door) -> None:
    async with door.openai("nobody's") as client, door.anthropic("nobody's") as other:
        with pytest.raises(openai.AuthenticationError) as one:
            await client.chat.completions.create(model="dev-small", messages=MESSAGES, max_tokens=9)
        with pytest.raises(anthropic.AuthenticationError) as two:
            await other.messages.create(model="dev-small", messages=MESSAGES, max_tokens=9)
    assert one.value.body["message"]  # type: ignore[index]
    assert two.value.body["error"]["type"] == "authentication_error"  # type: ignore[index]


async def test_errors_of_the_provider_arrive_as_its_own(door: Door) -> None:
    async with door.openai() as client, door.anthropic() as other:
        with pytest.raises(openai.RateLimitError) as one:
            await client.chat.completions.create(model="dev-429", messages=MESSAGES, max_tokens=9)
        with pytest.raises(anthropic.RateLimitError) as two:
            await other.messages.create(model="dev-429", messages=MESSAGES, max_tokens=9)
        with pytest.raises(openai.BadRequestError):
            await client.chat.completions.create(model="dev-400", messages=MESSAGES, max_tokens=9)
        with pytest.raises(openai.InternalServerError):
            await client.chat.completions.create(model="dev-500", messages=MESSAGES, max_tokens=9)
        with pytest.raises(anthropic.APIStatusError):
            await other.messages.create(model="dev-529", messages=MESSAGES, max_tokens=9)
    assert one.value.code == "rate_limit_exceeded"
    assert two.value.body["error"]["type"] == "rate_limit_error"  # type: ignore[index]


async def test_the_provider_sees_at_once_that_a_caller_stopped_reading(door: Door) -> None:
    async with door.openai() as client:
        stream = await client.chat.completions.create(
            model="dev-endless", messages=MESSAGES, max_tokens=1000, stream=True
        )
        for _ in range(5):
            await anext(stream)
        await stream.close()
        await door.closed()
    async with door.anthropic() as other:
        events = await other.messages.create(model="dev-endless", messages=MESSAGES, max_tokens=1000, stream=True)
        for _ in range(5):
            await anext(events)
        await events.close()
        await door.closed()


async def test_the_npm_sdks_see_the_same(door: Door) -> None:
    saw = await sdks.run(door.for_node())
    assert not {name: what for name, what in saw.items() if isinstance(what, str)}
    assert (saw["chat"]["whole"], saw["chat"]["text"]) == (ANSWER, ANSWER)
    assert saw["chat"]["wholeUsage"] == saw["chat"]["usage"]
    called = {"name": "weather", "input": {"city": "Use weather for Paris"}}
    assert saw["chatTools"] == {"reason": "tool_calls", **called}
    assert saw["messagesTools"] == {"reason": "tool_use", **called}
    assert (saw["responses"]["whole"], saw["responses"]["text"]) == (ANSWER, ANSWER)
    assert saw["embeddings"]["sizes"] == [1536, 1536]
    told = saw["messages"]
    assert (told["whole"], told["text"], told["final"]) == (ANSWER,) * 3
    assert len({*told["usage"]}) == len({*told["written"]}) == 1
    seen = f"image/png, {len(PNG)} bytes"
    assert all(seen in text for text in saw["image"].values())
    names = {name: error["name"] for name, error in saw["refused"].items()}
    assert names == {
        "openaiKey": "AuthenticationError",
        "anthropicKey": "AuthenticationError",
        "openaiLimit": "RateLimitError",
        "anthropicLimit": "RateLimitError",
    }
    assert saw["abort"] == {"openai": 5, "anthropic": 5}
    await door.behind.record.until(lambda: door.behind.record.open == 0, 10)
    ends = [one.end for one in door.behind.record.requests if one.model == "dev-endless"][-2:]
    assert ends == ["closed by caller"] * 2


async def test_nothing_of_the_caller_reaches_the_provider(door: Door) -> None:
    """After all of the above: keys are ours, no token, no cookie, no address, nothing an SDK tells about itself."""
    if door.direct:
        pytest.skip("there is nobody in between")
    for received in door.behind.record.requests:
        told = str(received)
        assert door.openai_key not in told
        assert not {name for name in received.headers if name.startswith(("x-stainless", "x-forwarded", "cookie"))}
        key = received.headers.get("x-api-key") or received.headers["authorization"].removeprefix("Bearer ")
        assert key in (pointing.OPENAI_KEY, pointing.ANTHROPIC_KEY)
