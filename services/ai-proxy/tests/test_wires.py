"""Wire formats: what a request may cost, what a stream has used, however it is cut into chunks."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_proxy.domain.prices import PriceTable, Usage
from ai_proxy.domain.stripping import UsageStripper
from ai_proxy.domain.wires import ANTHROPIC, OPENAI, Tally
from ai_proxy.domain.wires.wire import Rules

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
