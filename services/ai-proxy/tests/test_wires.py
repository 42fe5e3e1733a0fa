"""Wire formats: what a request may cost, what a stream has used, however it is cut into chunks."""

import orjson
import pytest
from deploy.provider import chat, messages, responses
from deploy.provider.prompt import pieces
from hypothesis import given, settings
from hypothesis import strategies as st

from ai_proxy.domain.prices import PriceTable, Usage
from ai_proxy.domain.stripping import UsageStripper
from ai_proxy.domain.wires import ANTHROPIC, OPENAI, Tally
from ai_proxy.domain.wires.wire import Rules
from ai_proxy.errors import RequestRefusedError

PRICES = PriceTable.load({}, None)
CHAT = OPENAI.operations["POST", "chat/completions"]
RESPONSES = OPENAI.operations["POST", "responses"]
EMBEDDINGS = OPENAI.operations["POST", "embeddings"]
MESSAGES = ANTHROPIC.operations["POST", "messages"]
TRICKY = 'a,"usage":null b "usage": null, "choices":[] größe'


def event(body):
    return b"data: " + orjson.dumps(body) + b"\n\n"


def chunk(text, **more):
    return {"id": "c", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}], **more}


PLAIN = [chunk("Hello"), chunk(TRICKY), {**chunk(""), "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}]
UNASKED = b"".join(map(event, PLAIN)) + b"data: [DONE]\n\n"
LAST = {"id": "c", "choices": [], "usage": {"prompt_tokens": 11, "completion_tokens": 7}}
ASKED = b"".join(event({**one, "usage": None}) for one in PLAIN) + event(LAST) + b"data: [DONE]\n\n"
START = {
    "type": "message_start",
    "message": {"usage": {"input_tokens": 5, "cache_read_input_tokens": 3, "output_tokens": 1}},
}
DELTA = {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "Hello there"}}
END = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}}
STREAM = b"".join(map(event, [START, DELTA, END, {"type": "message_stop"}]))


def cut(data, places):
    ends = sorted({place % (len(data) + 1) for place in places} | {len(data)})
    return [data[a:b] for a, b in zip([0, *ends], ends, strict=False)]


def tally(wire, chunks):
    counted = Tally(wire)
    for one in chunks:
        counted.feed(one)
    counted.fold()
    return counted


@given(places=st.lists(st.integers(0, 10_000), max_size=30))
def test_what_was_not_asked_for_is_left_out_however_it_comes(places):
    stripper = UsageStripper()
    assert b"".join([*map(stripper.feed, cut(ASKED, places)), stripper.rest()]) == UNASKED
    stripper = UsageStripper()
    crlf = ASKED.replace(b"\n", b"\r\n")
    got = b"".join([*map(stripper.feed, cut(crlf, places)), stripper.rest()])
    assert orjson.dumps(LAST) not in got
    assert got.endswith(b"data: [DONE]\r\n\r\n")


@given(data=st.binary(max_size=3000), places=st.lists(st.integers(0, 3000), max_size=9))
def test_whatever_else_comes_is_handed_on_and_never_fails(data, places):
    stripper = UsageStripper()
    got = b"".join([*map(stripper.feed, cut(data, places)), stripper.rest()])
    assert got == data or b'"usage"' in data
    for wire in (OPENAI, ANTHROPIC):
        tally(wire, cut(data, places))


@given(places=st.lists(st.integers(0, 10_000), max_size=30))
def test_usage_is_found_however_it_comes(places):
    counted = tally(OPENAI, cut(ASKED, places))
    assert counted.usage == Usage(input=11, output=7)
    assert counted.finished
    counted = tally(ANTHROPIC, cut(STREAM, places))
    assert counted.usage == Usage(input=5, cached=3, output=9)
    assert counted.finished


def test_of_half_a_stream_what_was_seen_is_known():
    counted = tally(ANTHROPIC, [STREAM[: STREAM.index(b"message_delta")]])
    assert (counted.usage, counted.finished, counted.seen_tokens) == (Usage(input=5, cached=3, output=1), False, 3)
    counted = tally(OPENAI, [UNASKED[: UNASKED.index(b'"stop"')]])
    assert (counted.usage, counted.finished) == (None, False)
    assert counted.seen_tokens >= 2
    called = {"choices": [{"delta": {"tool_calls": [{"function": {"name": "f", "arguments": "x" * 400}}]}}]}
    assert tally(OPENAI, [event(called)]).seen_tokens == 101
    spoken = {"type": "response.output_text.delta", "delta": "y" * 40}
    done = {"type": "response.completed", "response": {"usage": {"input_tokens": 2, "output_tokens": 3}}}
    counted = tally(OPENAI, [event(spoken), event(done)])
    assert (counted.usage, counted.finished, counted.seen_tokens) == (Usage(input=2, output=3), True, 10)


ODD = [{"usage": 5}, {"usage": {"prompt_tokens": -1, "completion_tokens": "x"}}, {"delta": 5}, {"choices": [7]}]


@pytest.mark.parametrize("body", ODD)
def test_odd_events_count_nothing(body):
    for wire in (OPENAI, ANTHROPIC):
        counted = tally(wire, [event(body)])
        assert counted.usage in (None, Usage())
        assert counted.seen_tokens == 0


def demand(wire, operation, shared=True, **body):
    return wire.demand(operation, {"model": "gpt-4o", **body}, Rules(shared=shared))


def test_a_text_has_no_more_tokens_than_bytes_and_an_image_is_none():
    price, text = PRICES.of("gpt-4o"), "größer " * 100
    asked = demand(OPENAI, CHAT, messages=[{"role": "user", "content": text}], max_tokens=50)
    assert len(text.encode()) < asked.input_bound(price) < len(text.encode()) + 200
    assert asked.input_estimate(price) < asked.input_bound(price) / 2
    assert asked.output_bound(price) == 50
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 100_000}}
    asked = demand(OPENAI, CHAT, messages=[{"role": "user", "content": [image, image]}], n=3)
    assert 10_000 <= asked.input_bound(price) <= 10_500
    assert asked.output_bound(price) == 3 * price.answer
    file = {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA"}}
    assert demand(OPENAI, CHAT, messages=[{"role": "user", "content": [file]}]).input_bound(price) == price.context
    assert demand(OPENAI, EMBEDDINGS, input=["a", "b"]).output_bound(price) == 0
    source = {"type": "base64", "media_type": "image/png", "data": "A" * 100_000}
    inner = [{"type": "tool_result", "content": [{"type": "image", "source": source}]}]
    asked = demand(ANTHROPIC, MESSAGES, messages=[{"role": "user", "content": inner}], max_tokens=5)
    assert asked.images == 1
    assert asked.text_bytes < 500


def test_usage_is_asked_for_where_nobody_did_and_only_there():
    streamed = demand(OPENAI, CHAT, stream=True, stream_options={"include_obfuscation": False}, messages=[])
    assert streamed.strips_usage
    assert streamed.body["stream_options"] == {"include_obfuscation": False, "include_usage": True}
    assert not demand(OPENAI, CHAT, stream=True, stream_options={"include_usage": True}, messages=[]).strips_usage
    assert "stream_options" not in demand(OPENAI, CHAT, messages=[]).body
    assert "stream_options" not in demand(OPENAI, RESPONSES, stream=True, input="x").body
    assert demand(OPENAI, RESPONSES, input="x").body["store"] is False
    kept = demand(OPENAI, RESPONSES, shared=False, input="x", previous_response_id="resp_1")
    assert ("store" in kept.body, kept.opaque) == (False, True)


NONE = ["", "chat", "chat/completions/", "models/", "models/a/b", "models/..", "models/.", "models/a..b", "models/ä"]


@pytest.mark.parametrize("path", [*NONE, "v1/v1/models"])
def test_paths_that_are_none(path):
    assert OPENAI.operation("GET", path) is None
    assert OPENAI.operation("POST", path) is None


def test_paths_as_official_clients_ask():
    assert ANTHROPIC.operation("POST", "v1/messages") is MESSAGES
    assert OPENAI.operation("POST", "chat/completions") is CHAT
    assert OPENAI.operation("GET", "models/gpt-4o-2024-08-06").path == "models/gpt-4o-2024-08-06"
    assert OPENAI.operation("DELETE", "models/gpt-4o") is None


FILE = {"type": "file", "file": {"file_data": "data:application/pdf;base64," + "A" * 400}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
PARTS = st.builds(lambda text: {"type": "text", "text": text}, st.text(max_size=60)) | st.sampled_from([IMAGE, FILE])
LIMITS = st.none() | st.integers(-1, 9_000) | st.sampled_from(["4000", 4000.0, True, [1]])
CHATS = st.fixed_dictionaries(
    {
        "model": st.just("gpt-4o"),
        "messages": st.lists(
            st.fixed_dictionaries(
                {"role": st.just("user"), "content": st.text(max_size=300) | st.lists(PARTS, min_size=1, max_size=4)}
            ),
            min_size=1,
            max_size=5,
        ),
    },
    optional={
        "n": st.none() | st.integers(-1, 600) | st.sampled_from(["128", 3.0]),
        "max_tokens": LIMITS,
        "max_completion_tokens": LIMITS,
    },
)


def lax(value, least):
    """As a server takes it that is content with anything."""
    try:
        return max(int(value), least)
    except (TypeError, ValueError):
        return least


@given(body=CHATS)
def test_no_server_counts_more_than_a_chat_was_taken_for(body):
    price = PRICES.of(body["model"])
    try:
        asked = OPENAI.demand(CHAT, body, Rules())
    except RequestRefusedError:
        return
    tidy = {name: body[name] for name in ("model", "messages")}
    assert asked.input_bound(price) >= chat.prompt(tidy).tokens
    most = max(lax(body.get(name), 0) for name in ("max_tokens", "max_completion_tokens"))
    assert asked.output_bound(price) >= min(most or price.answer, price.answer) * lax(body.get("n"), 1)


SOURCE = {"type": "base64", "media_type": "image/png", "data": "AAAA"}
SAID = st.builds(lambda text: {"type": "text", "text": text}, st.text(min_size=1, max_size=60))
SHOWN = st.just({"type": "image", "source": SOURCE})
TOOL = {"name": "find", "description": "Finds.", "input_schema": {"type": "object", "properties": {}}}


@given(
    system=st.text(max_size=100),
    turns=st.lists(
        st.text(min_size=1, max_size=200) | st.lists(SAID | SHOWN, min_size=1, max_size=4), min_size=1, max_size=6
    ),
    tools=st.integers(0, 3),
)
def test_no_server_counts_more_than_messages_and_responses_were_taken_for(system, turns, tools):
    told = [{"role": "user", "content": turn} for turn in turns]
    body = {"model": "claude-haiku-4-5", "max_tokens": 5, "system": system, "messages": told, "tools": [TOOL] * tools}
    asked = ANTHROPIC.demand(MESSAGES, body, Rules())
    assert asked.input_bound(PRICES.of(body["model"])) >= messages.prompt(body).tokens
    shown = {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}
    told = [
        {"role": "user", "content": turn if isinstance(turn, str) else [_as_input(part, shown) for part in turn]}
        for turn in turns
    ]
    body = {"model": "gpt-4o", "instructions": system, "input": told, "max_output_tokens": 5}
    asked = OPENAI.demand(RESPONSES, body, Rules())
    assert asked.input_bound(PRICES.of("gpt-4o")) >= responses.prompt(body).tokens
    assert asked.output_bound(PRICES.of("gpt-4o")) == 5


def _as_input(part, shown):
    return {"type": "input_text", "text": part["text"]} if part["type"] == "text" else shown


@settings(max_examples=25)
@given(texts=st.lists(st.text(min_size=1, max_size=40), min_size=1, max_size=5), times=st.integers(1, 2_000))
def test_no_server_counts_more_than_embeddings_were_taken_for(texts, times):
    price = PRICES.of("text-embedding-3-small")
    counted = sum(len(pieces(text)) for text in texts) * times
    asked = OPENAI.demand(EMBEDDINGS, {"model": "text-embedding-3-small", "input": texts * times}, Rules())
    assert asked.input_bound(price) >= counted
    assert asked.input_estimate(price) * 4 >= counted
    tokens = OPENAI.demand(EMBEDDINGS, {"model": "text-embedding-3-small", "input": [[7] * 50] * times}, Rules())
    assert tokens.input_bound(price) >= 50 * times


def test_the_bound_of_an_answer_cannot_be_talked_down():
    price = PRICES.of("gpt-4o")
    for limits, most in (
        ({"max_completion_tokens": 1, "max_tokens": 4000}, 4000),
        ({"max_completion_tokens": 1, "max_tokens": "4000"}, price.answer),
        ({"max_tokens": 0}, price.answer),
    ):
        assert demand(OPENAI, CHAT, messages=[], **limits).output_bound(price) == most
    assert demand(ANTHROPIC, MESSAGES, messages=[], max_tokens=0).output_bound(price) == price.answer
    for n in ("128", 3.0, 500, 0, True):
        with pytest.raises(RequestRefusedError, match="n:"):
            demand(OPENAI, CHAT, messages=[], n=n)
    with pytest.raises(RequestRefusedError):
        demand(OPENAI, RESPONSES, input="x", max_tokens=1)


def test_what_nothing_bounds_is_estimated_as_the_context():
    price = PRICES.of("gpt-4o")
    asked = demand(OPENAI, CHAT, messages=[{"role": "user", "content": [FILE]}])
    assert asked.input_estimate(price) == price.context


@pytest.mark.parametrize(
    ("operation", "field", "value"),
    [
        (CHAT, "models", ["o1-pro"]), (CHAT, "plugins", [{"id": "web"}]), (CHAT, "n_predict", 9_000),
        (CHAT, "messages", [{"role": "assistant", "audio": {"id": "audio_1"}}]),
        (RESPONSES, "context_management", [{"type": "compaction"}]),
        (RESPONSES, "input", [{"type": "item_reference", "id": "msg_1"}]), (RESPONSES, "input", [{"id": "msg_1"}]),
        (RESPONSES, "n", 2),
        (EMBEDDINGS, "n", 2), (MESSAGES, "fallbacks", [{"model": "claude-opus-4-1"}]), (MESSAGES, "speed", "fast"),
        (MESSAGES, "context_management", {"edits": [{"type": "compact_20260112"}]}),
        (MESSAGES, "messages", [{"role": "user", "content": [{"type": "container_upload", "file_id": "f"}]}]),
    ],
)  # fmt: skip
def test_what_nobody_can_count_or_others_share_is_refused(operation, field, value):
    wire = ANTHROPIC if operation is MESSAGES else OPENAI
    with pytest.raises(RequestRefusedError):
        wire.demand(operation, {"model": "gpt-4o", field: value}, Rules())


def test_state_is_one_s_own_with_one_s_own_key():
    own = Rules(shared=False)
    spoken = [{"role": "assistant", "audio": {"id": "audio_1"}}]
    assert OPENAI.demand(CHAT, {"model": "gpt-4o", "messages": spoken}, own).opaque
    referred = OPENAI.demand(RESPONSES, {"model": "gpt-4o", "input": [{"type": "item_reference", "id": "m"}]}, own)
    assert referred.opaque
    body = {"model": "gpt-4o", "input": "x", "metadata": {"who": "ada"}}
    assert "metadata" in OPENAI.demand(RESPONSES, body, own).body
    assert "metadata" not in OPENAI.demand(RESPONSES, body, Rules()).body
    clearing = {"edits": [{"type": "clear_tool_uses_20250919"}]}
    assert demand(ANTHROPIC, MESSAGES, messages=[], max_tokens=5, context_management=clearing).answer_tokens == 5


def test_an_error_in_a_stream_is_no_end():
    failed = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    half = STREAM[: STREAM.index(b"message_delta") - len('data: {"type":"')]
    for wire, data in (
        (ANTHROPIC, half + event(failed)),
        (OPENAI, event(chunk("Hello")) + event({"error": {"message": "sorry"}})),
        (OPENAI, event({"type": "response.failed", "response": {"usage": None}})),
        (OPENAI, event({"type": "error", "message": "sorry"})),
    ):
        counted = tally(wire, [data])
        assert (counted.failed, counted.finished) == (True, False), data


def test_an_end_is_no_text_and_no_other_answer_s():
    counted = tally(OPENAI, [b'data: {"choices":[{"delta":{"content":"say data: [DONE] now"}}]}\n\n'])
    assert not counted.finished
    ends = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    counted = Tally(OPENAI)
    counted.answers = 2
    counted.feed(event(ends))
    counted.fold()
    assert not counted.finished
    counted.feed(event(ends | {"choices": [{"index": 1, "delta": {}, "finish_reason": "length"}]}))
    counted.fold()
    assert counted.finished
    assert tally(OPENAI, [b"data: [DONE]\n\n"]).finished


def test_what_went_into_the_cache_for_an_hour_is_counted_once():
    told = {
        "input_tokens": 5, "cache_creation_input_tokens": 100, "output_tokens": 1,
        "cache_creation": {"ephemeral_5m_input_tokens": 30, "ephemeral_1h_input_tokens": 70},
    }  # fmt: skip
    start = {"type": "message_start", "message": {"usage": told}}
    end = {"type": "message_delta", "delta": {}, "usage": {"cache_creation_input_tokens": 100, "output_tokens": 9}}
    counted = tally(ANTHROPIC, [event(start), event(end)])
    assert counted.usage == Usage(input=5, written=30, written_hour=70, output=9)
