"""OpenAI's chat completions, whole and streamed (platform.openai.com, API reference, Chat)."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from deploy.provider.dialect import CREATED, checked, event, halves, identity, most, tool_text, turns, wanted
from deploy.provider.prompt import Call, Counted, Json, Prompt, RefusedError, Rendered, Reply, Tool

FINISH = {"stop": "stop", "stop_sequence": "stop", "length": "length", "tools": "tool_calls"}
MOST_CHOICES = 128
DONE = b"data: [DONE]\n\n"


def prompt(body: Mapping[str, Any]) -> Prompt:
    """What the body asks for. Raises `RefusedError`."""
    images: list[str] = []
    tools = [entry["function"] for entry in checked(body, "tools", list) or [] if "function" in entry]
    choice = body.get("tool_choice")
    form = checked(body, "response_format", dict) or {}
    schema = form.get("json_schema", {}).get("schema") if form.get("type") == "json_schema" else None
    stop = checked(body, "stop", (str, list)) or []
    choices = checked(body, "n", int) or 1
    if not 1 <= choices <= MOST_CHOICES:
        raise RefusedError("Invalid 'n'.", parameter="n", code="integer_above_max_value")
    return Prompt(
        model=body["model"],
        turns=turns(wanted(body, "messages", list), images),
        images=images,
        tools=[Tool(tool["name"], tool.get("parameters") or {}) for tool in tools],
        forced=choice["function"]["name"] if isinstance(choice, dict) else "*" if choice == "required" else None,
        may_call=choice != "none",
        schema=schema if schema is not None else {"type": "object"} if form.get("type") == "json_object" else None,
        most=most(body, "max_completion_tokens", "max_tokens"),
        stop=[stop] if isinstance(stop, str) else stop,
        stream=body.get("stream") is True,
        usage_in_stream=bool((checked(body, "stream_options", dict) or {}).get("include_usage")),
        choices=choices,
        extra=tool_text(tools, schema),
    )


def render(prompt: Prompt, replies: Sequence[Reply], usage: Counted | None) -> Rendered:
    """The answer as it goes over the wire."""
    if not prompt.stream:
        return Rendered(whole=_whole(prompt, replies, usage))
    return Rendered(
        head=[_chunk(prompt, at, {"role": "assistant", "content": None if reply.calls else "", "refusal": None})
              for at, reply in enumerate(replies)],
        pieces=[_chunk(prompt, at, delta) for at, reply in enumerate(replies) for delta in _deltas(reply)],
        tail=[*(_chunk(prompt, at, {}, FINISH[reply.end]) for at, reply in enumerate(replies)),
              *_last(prompt, usage), DONE],
        error=event({"error": {"message": "The server had an error while processing your request. Sorry about that!",
                               "type": "server_error", "param": None, "code": None}}),
    )  # fmt: skip


def _last(prompt: Prompt, usage: Counted | None) -> Iterator[bytes]:
    if prompt.usage_in_stream and usage:
        yield event(_envelope(prompt, "chat.completion.chunk") | {"choices": [], "usage": told(usage)})


def _deltas(reply: Reply) -> Iterator[Json]:
    for piece in reply.text:
        yield {"content": piece}
    for at, call in enumerate(reply.calls):
        named = {"index": at, "id": _call_id(at, call), "type": "function"}
        yield {"tool_calls": [named | {"function": {"name": call.name, "arguments": ""}}]}
        for part in halves(call.arguments):
            yield {"tool_calls": [{"index": at, "function": {"arguments": part}}]}


def _chunk(prompt: Prompt, index: int, delta: Json, finish: str | None = None) -> bytes:
    choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
    more = {"usage": None} if prompt.usage_in_stream else {}
    return event(_envelope(prompt, "chat.completion.chunk") | {"choices": [choice]} | more)


def _whole(prompt: Prompt, replies: Sequence[Reply], usage: Counted | None) -> bytes:
    choices = [
        {"index": at, "message": _message(reply), "logprobs": None, "finish_reason": FINISH[reply.end]}
        for at, reply in enumerate(replies)
    ]
    more = {"usage": told(usage)} if usage else {}
    return orjson.dumps(_envelope(prompt, "chat.completion") | {"choices": choices} | more)


def _message(reply: Reply) -> Json:
    message: Json = {"role": "assistant", "content": reply.joined or None, "refusal": None, "annotations": []}
    if reply.calls:
        message["tool_calls"] = [
            {"id": _call_id(at, call), "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for at, call in enumerate(reply.calls)
        ]
    return message


def _call_id(at: int, call: Call) -> str:
    return f"call_dev{at}{call.name}"


def _envelope(prompt: Prompt, kind: str) -> Json:
    return {
        "id": identity("chatcmpl-", prompt), "object": kind, "created": CREATED, "model": prompt.model,
        "service_tier": "default", "system_fingerprint": "fp_dev",
    }  # fmt: skip


def told(usage: Counted) -> Json:
    """Usage in the words of chat completions."""
    return {
        "prompt_tokens": usage.read,
        "completion_tokens": usage.written,
        "total_tokens": usage.read + usage.written,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0, "audio_tokens": 0, "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0,
        },
    }  # fmt: skip
