"""Anthropic's format: messages."""

import re
from collections.abc import Iterator
from typing import Any, Final

import orjson

from ...errors import RequestRefusedError
from ..prices import Usage
from .wire import Demand, Json, Operation, Rules, Wire, dumped, highest, known, whole

_FIELDS: Final = frozenset((
    "model", "messages", "max_tokens", "cache_control", "context_management", "metadata", "output_config",
    "output_format", "service_tier", "stop_sequences", "stream", "system", "temperature", "thinking", "tool_choice",
    "tools", "top_k", "top_p",
))  # fmt: skip
_MESSAGES: Final = Operation("messages", "POST", "messages", _FIELDS, query=("beta",))
_COUNT: Final = Operation("count_tokens", "POST", "messages/count_tokens", _FIELDS, priced=False, query=("beta",))
_MODELS: Final = Operation("models", "GET", "models", priced=False, query=("beta", "limit", "after_id", "before_id"))
_OPERATIONS: Final = {(one.method, one.path): one for one in (_MESSAGES, _COUNT, _MODELS)}

VERSION: Final = "2023-06-01"
"""Of the API, for callers that name none."""
CLIENT_TOOLS: Final = re.compile(r"(custom|(bash|text_editor|computer|memory)_\d{8})")
"""Tools the client carries out. Those of the provider cost what no count of tokens says."""


def _blocks(content: Any) -> Iterator[Json]:
    """Content blocks, and those within the results of tools."""
    for block in content if isinstance(content, list) else ():
        if isinstance(block, dict):
            yield block
            yield from _blocks(block.get("content"))


def _every_block(body: Json) -> Iterator[Json]:
    yield from _blocks(body.get("system"))
    messages = body.get("messages")
    for message in messages if isinstance(messages, list) else ():
        if isinstance(message, dict):
            yield from _blocks(message.get("content"))


def _source(block: Json) -> Json:
    source = block.get("source")
    return source if isinstance(source, dict) else {}


def _hidden(block: Json) -> int:
    source = _source(block)
    data = source.get("data")
    return len(data) if source.get("type") == "base64" and isinstance(data, str) else 0


def _at_provider(block: Json) -> bool:
    return _source(block).get("type") == "file" or block.get("type") == "container_upload"


def _only_clears(management: Any) -> bool:
    """Whether what it does to the context is no work of a model."""
    edits = management.get("edits") if isinstance(management, dict) else ()
    return management is None or all(
        isinstance(edit, dict) and str(edit.get("type")).startswith("clear_") for edit in edits or ()
    )


def _refuse(body: Json, rules: Rules) -> None:
    """Raises `RequestRefusedError` for what cannot be counted, or would be shared with others."""
    if body.get("service_tier") not in (None, "auto", "standard_only"):
        raise RequestRefusedError("service_tier: this one has prices of its own")
    tools = body.get("tools")
    for tool in tools if isinstance(tools, list) else ():
        kind = tool.get("type") if isinstance(tool, dict) else None
        if kind is not None and not (isinstance(kind, str) and CLIENT_TOOLS.fullmatch(kind)):
            raise RequestRefusedError("tools: the provider's own tools cannot be used through this proxy")
    if not _only_clears(body.get("context_management")):
        raise RequestRefusedError("context_management: only edits that clear can be used through this proxy")
    if rules.shared and any(map(_at_provider, _every_block(body))):
        raise RequestRefusedError("source: files at the provider need a key of your own")


def _opaque(block: Json) -> bool:
    """Whether nothing bounds its tokens."""
    return _at_provider(block) or (block.get("type") == "document" and _source(block).get("type") != "text")


def demand(operation: Operation, body: Json, rules: Rules) -> Demand:
    """What a request asks for. Raises `RequestRefusedError`."""
    model = body.get("model")
    if not isinstance(model, str) or not 0 < len(model) <= 200:  # noqa: PLR2004
        raise RequestRefusedError("model: name one")
    body = known(body, operation.fields)
    _refuse(body, rules)
    body = {name: value for name, value in body.items() if name != "metadata"}  # it says who asks, and nothing else
    blocks = list(_every_block(body))
    whole_body = dumped(body)
    return Demand(
        model=model,
        body=body,
        streamed=operation is _MESSAGES and body.get("stream") is True,
        text_bytes=max(0, len(whole_body) - sum(map(_hidden, blocks))),
        images=sum(block.get("type") == "image" for block in blocks),
        opaque=any(map(_opaque, blocks)),
        tools=bool(body.get("tools")),
        caches=b'"cache_control"' in whole_body,
        answer_tokens=highest(body.get("max_tokens")) if operation is _MESSAGES else 0,
    )


def told(answer: Json) -> Json | None:
    """What an answer, or an event of one, says it used."""
    if isinstance(inner := answer.get("message"), dict):  # of `message_start`
        answer = inner
    found = answer.get("usage")
    return found if isinstance(found, dict) else None


def counted(told: Json) -> Usage:
    """What that is in tokens."""
    lasting = told.get("cache_creation")
    hour = (whole(lasting.get("ephemeral_1h_input_tokens"), 0) or 0) if isinstance(lasting, dict) else 0
    written = whole(told.get("cache_creation_input_tokens"), 0) or 0
    return Usage(
        input=whole(told.get("input_tokens"), 0) or 0,
        cached=whole(told.get("cache_read_input_tokens"), 0) or 0,
        written=max(written - hour, 0),
        written_hour=hour,
        output=whole(told.get("output_tokens"), 0) or 0,
    )


def text(event: Json) -> str:
    """What an event adds to the answer, input of tools and thoughts included."""
    delta = event.get("delta")
    if not isinstance(delta, dict):
        return ""
    return "".join(part for name in ("text", "partial_json", "thinking") if isinstance(part := delta.get(name), str))


def said(event: Json) -> str:
    """What an event adds to the text."""
    delta = event.get("delta")
    part = delta.get("text") if isinstance(delta, dict) else None
    return part if isinstance(part, str) else ""


_TYPES: Final = {
    400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
    413: "request_too_large", 429: "rate_limit_error", 503: "overloaded_error", 504: "timeout_error",
}  # fmt: skip


def error(status: int, code: str, message: str, trace: str) -> Json:
    """An error as Anthropic's API has them; `code` is ours."""
    type_ = _TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")  # noqa: PLR2004
    return {"type": "error", "error": {"type": type_, "message": message, "code": code}, "request_id": trace}


ANTHROPIC = Wire(
    name="anthropic",
    operations=_OPERATIONS,
    request_headers={"anthropic-version": VERSION, "anthropic-beta": None},
    credentials=lambda key: {"x-api-key": key},
    demand=demand,
    told=told,
    counted=counted,
    text=text,
    said=said,
    ends=lambda event: int(event.get("type") == "message_stop"),
    failed=lambda event: event.get("type") == "error",
    error=error,
    error_event=lambda body: b"event: error\ndata: " + orjson.dumps(body) + b"\n\n",
)
