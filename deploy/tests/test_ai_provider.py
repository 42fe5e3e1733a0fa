"""The development provider breaks what it is told to break, and says what reached it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
import pytest_asyncio
from deploy.provider.answers import answer, filled
from deploy.provider.behaviour import NAMED, Behaviour
from deploy.provider.pointing import ANTHROPIC_KEY, OPENAI_KEY
from deploy.provider.prompt import Prompt, Turn, pieces
from deploy.provider.quoting import Source, quoted
from deploy.provider.server import Running, running

KEYS = {"openai": {"Authorization": f"Bearer {OPENAI_KEY}"},
        "anthropic": {"x-api-key": ANTHROPIC_KEY, "anthropic-version": "2023-06-01"}}  # fmt: skip
PATHS = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}
LAST = {"openai": b"data: [DONE]\n\n", "anthropic": b'data: {"type":"message_stop"}\n\n'}
DIALECTS = pytest.mark.parametrize("dialect", ["openai", "anthropic"])


@pytest_asyncio.fixture
async def provider() -> AsyncIterator[Running]:
    async with running() as started:
        yield started


@pytest_asyncio.fixture
async def http(provider: Running) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(provider.url, read_bufsize=2**20) as session:
        yield session


def asked(http: aiohttp.ClientSession, dialect: str, model: str, **more: Any) -> Any:
    body = {"model": model, "max_tokens": 1000, "messages": [{"role": "user", "content": "one two three four"}], **more}
    return http.post(PATHS[dialect], json=body, headers=KEYS[dialect], allow_redirects=False)


@DIALECTS
@pytest.mark.parametrize("streamed", [False, True])
async def test_the_same_request_gets_the_same_bytes(
    http: aiohttp.ClientSession, dialect: str, *, streamed: bool
) -> None:
    answers = []
    for _ in range(2):
        async with asked(http, dialect, "dev-small", stream=streamed) as answer:
            answers.append(await answer.read())
    assert answers[0] == answers[1]
    assert answers[0].endswith(LAST[dialect]) == streamed


@DIALECTS
async def test_as_many_tokens_as_a_model_is_named_for_are_streamed(
    provider: Running, http: aiohttp.ClientSession, dialect: str
) -> None:
    async with asked(http, dialect, "dev-words-50", stream=True) as answer:
        assert (await answer.read()).endswith(LAST[dialect])
    assert provider.record.requests[-1].pieces == 50
    async with asked(http, dialect, "dev-words-50", stream=True, max_tokens=7) as answer:
        await answer.read()
    assert provider.record.requests[-1].pieces == 7


@DIALECTS
@pytest.mark.parametrize("model", ["dev-half", "dev-disconnect"])
async def test_a_connection_ends_too_early(http: aiohttp.ClientSession, dialect: str, model: str) -> None:
    with pytest.raises((aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError)):
        async with asked(http, dialect, model, stream=True) as answer:
            await answer.read()


@DIALECTS
@pytest.mark.parametrize("model", ["dev-error", "dev-garbage"])
async def test_a_stream_ends_with_something_else(http: aiohttp.ClientSession, dialect: str, model: str) -> None:
    async with asked(http, dialect, model, stream=True) as answer:
        assert answer.status == 200
        got = await answer.read()
    assert LAST[dialect] not in got
    assert (b'"error"' in got) == (model == "dev-error")


@DIALECTS
@pytest.mark.parametrize("model", ["dev-stall", "dev-endless", "dev-flood", "dev-silent"])
async def test_who_waits_in_vain_and_leaves_is_seen_to_leave(
    provider: Running, http: aiohttp.ClientSession, dialect: str, model: str
) -> None:
    waiting = asyncio.ensure_future(_read(asked(http, dialect, model, stream=True)))
    assert await provider.record.until(lambda: provider.record.count == 1, 10)
    received = provider.record.requests[-1]
    assert not waiting.done()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert await provider.record.until(lambda: provider.record.open == 0, 10)
    assert received.end == "closed by caller"


async def _read(request: Any) -> None:
    async with request as answer:
        while await answer.content.readany():
            pass


@DIALECTS
async def test_what_was_set_holds_so_many_times(provider: Running, http: aiohttp.ClientSession, dialect: str) -> None:
    async with http.put(
        "/control/behaviours/dev-small", json={"behaviour": {"status": 429, "retry_after": 7}, "times": 2}
    ) as answer:
        assert answer.status == 200
    seen = []
    for _ in range(3):
        async with asked(http, dialect, "dev-small") as answer:
            seen.append((answer.status, answer.headers.get("retry-after")))
    assert seen == [(429, "7"), (429, "7"), (200, None)]
    provider.behaviours.set("*", Behaviour(usage="none"), None)
    async with asked(http, dialect, "dev-small") as answer:
        assert "usage" not in await answer.json()
    async with http.put("/control/behaviours/x", json={"behaviour": {"fault": "boredom"}}) as answer:
        assert answer.status == 400


@DIALECTS
@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"model": 1}', b'{"model": "dev-small", "max_tokens": 1, "messages": [1]}',
             b'{"model": "dev-small", "max_tokens": 0, "messages": []}',
             b'{"model": "dev-small", "max_tokens": 1, "messages": [{"role": "user", "content": [{"type": "x"}]}]}',
             b'{"model": "dev-small", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}], "tools": [1]}']
)  # fmt: skip
async def test_bodies_that_are_none_are_refused(http: aiohttp.ClientSession, dialect: str, body: bytes) -> None:
    async with http.post(PATHS[dialect], data=body, headers=KEYS[dialect]) as answer:
        assert answer.status in (400, 404)
        assert (await answer.json())["error"]["type"] in ("invalid_request_error", "not_found_error")


async def test_control_tells_what_came_in(http: aiohttp.ClientSession) -> None:
    async with asked(http, "openai", "dev-small") as answer:
        await answer.read()
    async with http.get("/control/wait", params={"requests": "1"}) as answer:
        assert await answer.json() == {"requests": 1}
    async with http.get("/control/open", params={"below": "1", "seconds": "5"}) as answer:
        assert await answer.json() == {"open": 0}
    async with http.get("/control/requests") as answer:
        (one,) = await answer.json()
    assert (one["path"], one["model"], one["end"]) == ("/v1/chat/completions", "dev-small", "done")
    assert one["headers"]["authorization"] == f"Bearer {OPENAI_KEY}"
    async with http.delete("/control") as answer:
        assert answer.status == 200
    async with http.get("/control/requests") as answer:
        assert await answer.json() == []


def test_tokens_joined_are_the_text() -> None:
    for text in ("", "  ", "Grüße, Welt!\n\n- 😀 item", "x" * 100, "a  b\tc "):
        assert "".join(pieces(text)) == text


def test_a_question_is_answered_with_its_page() -> None:
    texts = [Source('<page n="1">Cats purr.</page><page n="2">The invoice of March is 1,200 euros. Pay soon.</page>')]
    assert quoted("How high is the invoice of March?", texts) == "“The invoice of March is 1,200 euros.” [page 2]"
    assert quoted("Why?", texts) is None


def assist(action: str, **options: Any) -> str:
    """What the development provider says to a real prompt of ai-proxy's."""
    from ai_proxy.domain.prompting import Material, compose

    given = {"instructions": None, "language": None, "hunks": False, "budget": 10_000} | options
    made = compose(action, Material(**given.pop("material")), **given)
    return answer(Prompt("dev-small", [Turn("system", made.system), Turn("user", made.user)])).joined


def test_prompts_of_assist_are_understood() -> None:
    from ai_proxy.domain.edits import check, read_hunks
    from ai_proxy.domain.prompting import Page, citations

    text = "# Plan\n\nWe do this in order to win. It takes teh time.\n\nAll of it is very good.\n"
    edits = read_hunks(assist("improve", material={"document": text, "whole": True}, hunks=True))
    assert check(text, edits) == text.replace("in order to", "to").replace("very good", "excellent")
    assert assist("fix", material={"selection": "It takes teh time."}) == "It takes the time."
    plain = "# Plan\n\nWe win.\n"
    assert check(plain, read_hunks(assist("improve", material={"document": plain, "whole": True}, hunks=True))) != plain
    assert assist("shorten", material={"document": text}).startswith("# Plan\n\nWe do this in order to win.\n")
    assert assist("translate", material={"selection": "We win."}, language="German") == "[German] We win."
    assert assist("continue", material={"document": text}).startswith("\n\n")

    page = Page(uuid4(), "invoice.pdf", 3, "The invoice of March is 1,200 euros. Pay soon.")
    said = assist("ask", material={"files": [[page]]}, instructions="How high is the invoice of March?")
    assert said == "“The invoice of March is 1,200 euros.” [F1:3]"
    assert citations(said, {"F1:3": page})[0]["page"] == 3
    assert assist("ask", material={"files": [[page]]}, instructions="Who?") == "The texts do not say it."


def test_a_schema_is_filled() -> None:
    schema = {"type": "object", "properties": {
        "edits": {"type": "array", "items": {"type": "object", "properties": {"find": {"type": "string"}}}},
        "kind": {"enum": ["a", "b"]}, "maybe": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "no": {"type": "null"},
    }}  # fmt: skip
    assert filled(schema, "x") == {"edits": [{"find": "x"}], "kind": "a", "maybe": 1, "no": None}


def test_every_fault_is_described() -> None:
    from deploy import provider

    assert [name for name in NAMED if name not in (provider.__doc__ or "")] == []
