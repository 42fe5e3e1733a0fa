"""Anthropic's messages, whole and streamed (docs of the Messages API)."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from deploy.provider.dialect import checked, content, event, halves, identity, most, tool_text, turns, wanted
from deploy.provider.prompt import Counted, Json, Prompt, RefusedError, Rendered, Reply, Tool, Turn

STOP = {"stop": "end_turn", "stop_sequence": "stop_sequence", "length": "max_tokens", "tools": "tool_use"}
PING = event({"type": "ping"}, "ping")


def prompt(body: Mapping[str, Any], *, counting: bool = False) -> Prompt:
    """What the body asks for; a question for the number of tokens needs no `max_tokens`. Raises `RefusedError`."""
    if not counting and "max_tokens" not in body:
        raise RefusedError("max_tokens: Field required")
    images: list[str] = []
    system = content(body.get("system"), images)
    tools = checked(body, "tools", list) or []
    choice = checked(body, "tool_choice", dict) or {}
    form = (checked(body, "output_config", dict) or {}).get("format") or checked(body, "output_format", dict) or {}
    schema = form.get("schema") if form.get("type") == "json_schema" else None
    messages = wanted(body, "messages", list)
    return Prompt(
        model=body["model"],
        turns=[*([Turn("system", system)] if system else []), *_turns(messages, images)],
        images=images,
        tools=[Tool(tool["name"], tool.get("input_schema") or {}) for tool in tools if "name" in tool],
        forced=choice.get("name", "*") if choice.get("type") in {"tool", "any"} else None,
        may_call=choice.get("type") != "none",
        schema=schema,
        most=most(body, "max_tokens"),
        stop=checked(body, "stop_sequences", list) or [],
        stream=body.get("stream") is True,
        extra=tool_text(tools, schema),
    )


def _turns(messages: Sequence[Any], images: list[str]) -> Iterator[Turn]:
    if not messages:
        raise RefusedError("messages: at least one message is required")
    for message, turn in zip(messages, turns(messages, images), strict=True):
        if turn.role not in {"user", "assistant"}:
            raise RefusedError('messages: Unexpected role; allowed are "user" and "assistant"')
        parts = message.get("content")
        answers = isinstance(parts, list) and any(part.get("type") == "tool_result" for part in parts)
        yield Turn("tool", turn.text) if answers else turn


def render(prompt: Prompt, replies: Sequence[Reply], usage: Counted | None) -> Rendered:
    """The answer as it goes over the wire."""
    reply = replies[0]
    told = usage or Counted(0, 0)
    blocks = _blocks(reply)
    if not prompt.stream:
        whole = _message(prompt, blocks, STOP[reply.end], reply.stopped_by) | ({"usage": _told(told)} if usage else {})
        return Rendered(whole=orjson.dumps(whole))
    begun = _message(prompt, [], None, None) | ({"usage": _told(Counted(told.read, 1))} if usage else {})
    ended = {"type": "message_delta", "delta": {"stop_reason": STOP[reply.end], "stop_sequence": reply.stopped_by}}
    streamed = [part for at, block in enumerate(blocks) for part in _streamed(at, block, reply)]
    return Rendered(
        head=[event({"type": "message_start", "message": begun}, "message_start"), streamed[0], PING],
        pieces=streamed[1:-1],
        tail=[
            streamed[-1],
            event(ended | ({"usage": {"output_tokens": told.written}} if usage else {}), "message_delta"),
            event({"type": "message_stop"}, "message_stop"),
        ],
        error=event({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, "error"),
    )


def _blocks(reply: Reply) -> list[Json]:
    if reply.calls:
        return [
            {"type": "tool_use", "id": f"toolu_dev{at}{call.name}", "name": call.name,
             "input": orjson.loads(call.arguments)}
            for at, call in enumerate(reply.calls)
        ]  # fmt: skip
    return [{"type": "text", "text": reply.joined}]


def _streamed(at: int, block: Json, reply: Reply) -> Iterator[bytes]:
    if block["type"] == "text":
        empty, deltas = {"type": "text", "text": ""}, [{"type": "text_delta", "text": piece} for piece in reply.text]
    else:
        parts = ["", *halves(reply.calls[at].arguments)]
        empty, deltas = block | {"input": {}}, [{"type": "input_json_delta", "partial_json": part} for part in parts]
    yield event({"type": "content_block_start", "index": at, "content_block": empty}, "content_block_start")
    for delta in deltas:
        yield event({"type": "content_block_delta", "index": at, "delta": delta}, "content_block_delta")
    yield event({"type": "content_block_stop", "index": at}, "content_block_stop")


def _message(prompt: Prompt, blocks: Sequence[Json], stop: str | None, stopped_by: str | None) -> Json:
    return {
        "id": identity("msg_", prompt), "type": "message", "role": "assistant", "model": prompt.model,
        "content": blocks, "stop_reason": stop, "stop_sequence": stopped_by,
    }  # fmt: skip


def _told(usage: Counted) -> Json:
    return {
        "input_tokens": usage.read, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": usage.written, "service_tier": "standard",
    }  # fmt: skip
