"""OpenAI's responses, whole and streamed (platform.openai.com, API reference, Responses)."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from deploy.provider.dialect import CREATED, checked, content, event, halves, identity, most, tool_text, wanted
from deploy.provider.prompt import Counted, Json, Prompt, RefusedError, Rendered, Reply, Tool, Turn


def prompt(body: Mapping[str, Any]) -> Prompt:
    """What the body asks for. Raises `RefusedError`."""
    images: list[str] = []
    tools = [entry for entry in checked(body, "tools", list) or [] if entry.get("type") == "function"]
    choice = body.get("tool_choice")
    form = (checked(body, "text", dict) or {}).get("format") or {}
    schema = form.get("schema") if form.get("type") == "json_schema" else None
    instructions = checked(body, "instructions", str)
    return Prompt(
        model=body["model"],
        turns=[*([Turn("system", instructions)] if instructions else []), *_turns(body, images)],
        images=images,
        tools=[Tool(tool["name"], tool.get("parameters") or {}) for tool in tools],
        forced=choice.get("name", "*") if isinstance(choice, dict) else "*" if choice == "required" else None,
        may_call=choice != "none",
        schema=schema if schema is not None else {"type": "object"} if form.get("type") == "json_object" else None,
        most=most(body, "max_output_tokens"),
        stream=body.get("stream") is True,
        extra=tool_text(tools, schema),
    )


def _turns(body: Mapping[str, Any], images: list[str]) -> Iterator[Turn]:
    given = wanted(body, "input", (str, list))
    if isinstance(given, str):
        yield Turn("user", given)
        return
    for item in given:
        match item:
            case {"type": "function_call_output", "output": output}:
                yield Turn("tool", content(output, images))
            case {"type": "function_call", "arguments": str(arguments)}:
                yield Turn("assistant", arguments)
            case {"role": str(role)}:
                yield Turn("system" if role == "developer" else role, content(item.get("content"), images))
            case {"type": str()}:
                pass
            case _:
                raise RefusedError("Invalid value for an input item.", parameter="input", code="invalid_value")


def render(prompt: Prompt, replies: Sequence[Reply], usage: Counted | None) -> Rendered:
    """The answer as it goes over the wire."""
    reply = replies[0]
    done = _response(prompt, reply, usage)
    if not prompt.stream:
        return Rendered(whole=orjson.dumps(done))
    begun = _response(prompt, None, None)
    said = _Events()
    head = [said("response.created", response=begun), said("response.in_progress", response=begun)]
    outputs = [_output(prompt, reply, said)] if not reply.calls else [
        _call(at, item, said) for at, item in enumerate(done["output"])
    ]  # fmt: skip
    opened, pieces, closed = (outputs[0][0], [piece for one in outputs for piece in one[1]], outputs[-1][2])
    ended = "response.incomplete" if reply.end == "length" else "response.completed"
    return Rendered(
        head=[*head, *opened],
        pieces=pieces,
        tail=[*closed, said(ended, response=done)],
        error=said(
            "error", code="server_error", message="The server had an error processing your request.", param=None
        ),
    )


class _Events:
    """Makes events, numbering them."""

    def __init__(self) -> None:
        self._number = 0

    def __call__(self, kind: str, **fields: Any) -> bytes:
        made = event({"type": kind, "sequence_number": self._number, **fields}, kind)
        self._number += 1
        return made


Parts = tuple[list[bytes], list[bytes], list[bytes]]


def _output(prompt: Prompt, reply: Reply, said: _Events) -> Parts:
    item = _message(prompt, reply)
    place = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    opened = [
        said("response.output_item.added", output_index=0, item=item | {"status": "in_progress", "content": []}),
        said("response.content_part.added", **place, part=_part("")),
    ]
    pieces = [said("response.output_text.delta", **place, delta=piece, logprobs=[]) for piece in reply.text]
    closed = [
        said("response.output_text.done", **place, text=reply.joined, logprobs=[]),
        said("response.content_part.done", **place, part=_part(reply.joined)),
        said("response.output_item.done", output_index=0, item=item),
    ]
    return opened, pieces, closed


def _call(at: int, item: Json, said: _Events) -> Parts:
    place = {"item_id": item["id"], "output_index": at}
    opened = [
        said("response.output_item.added", output_index=at, item=item | {"status": "in_progress", "arguments": ""})
    ]
    pieces = [said("response.function_call_arguments.delta", **place, delta=part) for part in halves(item["arguments"])]
    closed = [
        said("response.function_call_arguments.done", **place, arguments=item["arguments"]),
        said("response.output_item.done", output_index=at, item=item),
    ]
    return opened, pieces, closed


def _message(prompt: Prompt, reply: Reply) -> Json:
    return {
        "id": identity("msg_", prompt), "type": "message", "role": "assistant",
        "status": "incomplete" if reply.end == "length" else "completed", "content": [_part(reply.joined)],
    }  # fmt: skip


def _part(text: str) -> Json:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _items(prompt: Prompt, reply: Reply) -> list[Json]:
    if not reply.calls:
        return [_message(prompt, reply)]
    return [
        {"id": f"fc_dev{at}", "type": "function_call", "status": "completed", "call_id": f"call_dev{at}{call.name}",
         "name": call.name, "arguments": call.arguments}
        for at, call in enumerate(reply.calls)
    ]  # fmt: skip


def _response(prompt: Prompt, reply: Reply | None, usage: Counted | None) -> Json:
    cut = reply is not None and reply.end == "length"
    return {
        "id": identity("resp_", prompt), "object": "response", "created_at": CREATED, "model": prompt.model,
        "status": "in_progress" if reply is None else "incomplete" if cut else "completed",
        "background": False, "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "instructions": None, "max_output_tokens": prompt.most, "metadata": {},
        "output": _items(prompt, reply) if reply else [],
        "parallel_tool_calls": True, "previous_response_id": None, "reasoning": {"effort": None, "summary": None},
        "service_tier": "default", "store": False, "temperature": 1.0, "text": {"format": {"type": "text"}},
        "tool_choice": "auto", "tools": [], "top_p": 1.0, "truncation": "disabled",
        "usage": _told(usage) if usage else None, "user": None,
    }  # fmt: skip


def _told(usage: Counted) -> Json:
    return {
        "input_tokens": usage.read, "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": usage.written, "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.read + usage.written,
    }  # fmt: skip
