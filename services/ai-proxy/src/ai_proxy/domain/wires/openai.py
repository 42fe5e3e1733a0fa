"""OpenAI's format: chat completions, responses, embeddings."""

import re
from collections.abc import Iterator
from typing import Any, Final

import orjson

from ...errors import RequestRefusedError
from ..prices import Usage
from .wire import Demand, Json, Operation, Rules, Wire, dumped, whole

_CHAT: Final = Operation("chat", "POST", "chat/completions")
_RESPONSES: Final = Operation("responses", "POST", "responses")
_EMBEDDINGS: Final = Operation("embeddings", "POST", "embeddings")
_MODELS: Final = Operation("models", "GET", "models", priced=False)
_OPERATIONS: Final = {(one.method, one.path): one for one in (_CHAT, _RESPONSES, _EMBEDDINGS, _MODELS)}

CLIENT_TOOLS: Final = ("function", "custom")
"""Tools the client carries out. Those of the provider cost what no count of tokens says."""
STATE: Final = ("previous_response_id", "conversation", "prompt")
"""Refers to what lies at the provider, where everybody who uses the same key has access to it."""
_DATA: Final = {"image_url": "url", "input_audio": "data", "file": "file_data"}
MOST_ANSWERS: Final = 128


def _parts(body: Json) -> Iterator[Json]:
    """Content parts of messages and input items, tool outputs included."""
    for name in ("messages", "input"):
        entries = body.get(name)
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, dict):
                yield entry
                for inner in ("content", "output"):
                    parts = entry.get(inner)
                    yield from (part for part in (parts if isinstance(parts, list) else ()) if isinstance(part, dict))


def _media(part: Json) -> tuple[int, bool, bool]:
    """Bytes of a part that are no text, whether it is an image, whether nothing bounds its tokens."""
    kind = part.get("type")
    if kind in ("image_url", "input_image"):
        place = part.get("image_url")
        url = place.get("url") if isinstance(place, dict) else place
        return (len(url) if isinstance(url, str) else 0), True, False
    if kind in ("input_audio", "file", "input_file"):
        inner = part.get(kind)
        data = inner.get(_DATA[kind]) if isinstance(inner, dict) and kind in _DATA else part.get("file_data")
        return (len(data) if isinstance(data, str) else 0), False, True
    return 0, False, False


def _refuse(body: Json, rules: Rules) -> None:
    """Raises `RequestRefusedError` for what cannot be counted, or would be shared with others."""
    if body.get("background"):
        raise RequestRefusedError("background: an answer that is fetched later cannot be had through this proxy")
    tools = body.get("tools")
    for tool in tools if isinstance(tools, list) else ():
        if isinstance(tool, dict) and tool.get("type") not in CLIENT_TOOLS:
            raise RequestRefusedError(f"tools: only {' and '.join(CLIENT_TOOLS)} tools can be used through this proxy")
    if body.get("web_search_options") is not None:
        raise RequestRefusedError("web_search_options: the provider's own tools cannot be used through this proxy")
    if body.get("service_tier") not in (None, "auto", "default", "flex"):
        raise RequestRefusedError("service_tier: this one has prices of its own")
    if rules.shared:
        for name in STATE:
            if body.get(name) is not None:
                raise RequestRefusedError(f"{name}: state at the provider needs a key of your own")
        if any(isinstance(part.get("file"), dict) and part["file"].get("file_id") for part in _parts(body)) or any(
            part.get("file_id") for part in _parts(body)
        ):
            raise RequestRefusedError("file_id: files at the provider need a key of your own")


def _without_caller(operation: Operation, body: Json, rules: Rules) -> Json:
    """Leave out who asks; with a shared key nothing is kept at the provider either."""
    body = {name: value for name, value in body.items() if name not in ("user", "safety_identifier")}
    if operation is _RESPONSES and rules.shared:
        body["store"] = False
    elif operation is _CHAT and rules.shared:
        body.pop("store", None)
        body.pop("metadata", None)
    return body


def demand(operation: Operation, body: Json, rules: Rules) -> Demand:
    """What a request asks for. Raises `RequestRefusedError`."""
    model = body.get("model")
    if not isinstance(model, str) or not 0 < len(model) <= 200:  # noqa: PLR2004
        raise RequestRefusedError("model: name one")
    _refuse(body, rules)
    body = _without_caller(operation, body, rules)
    media = [_media(part) for part in _parts(body)]
    streamed = operation is not _EMBEDDINGS and body.get("stream") is True
    options = body.get("stream_options")
    told = isinstance(options, dict) and options.get("include_usage") is True
    strips = streamed and operation is _CHAT and rules.stream_usage and not told
    length = len(dumped(body))
    if strips:
        body["stream_options"] = {**(options if isinstance(options, dict) else {}), "include_usage": True}
    limit = body.get("max_output_tokens") if operation is _RESPONSES else body.get("max_completion_tokens")
    limit = body.get("max_tokens") if limit is None else limit
    return Demand(
        model=model,
        body=body,
        streamed=streamed,
        text_bytes=max(0, length - sum(hidden for hidden, _, _ in media)),
        images=sum(image for _, image, _ in media),
        opaque=any(opaque for _, _, opaque in media) or any(body.get(name) is not None for name in STATE),
        tools=bool(body.get("tools") or body.get("functions")),
        answer_tokens=0 if operation is _EMBEDDINGS else whole(limit),
        answers=min(max(whole(body.get("n"), 1) or 1, 1), MOST_ANSWERS) if operation is _CHAT else 1,
        foretold=len(dumped({"content": body["prediction"]})) if body.get("prediction") else 0,
        strips_usage=strips,
    )


def usage(answer: Json) -> Usage | None:
    """What an answer, or an event of one, says it used."""
    if isinstance(inner := answer.get("response"), dict):  # the events of `responses` wrap it
        answer = inner
    told = answer.get("usage")
    if not isinstance(told, dict):
        return None
    read = whole(told.get("prompt_tokens", told.get("input_tokens")), 0) or 0
    details = told.get("prompt_tokens_details") or told.get("input_tokens_details")
    cached = (whole(details.get("cached_tokens"), 0) or 0) if isinstance(details, dict) else 0
    written = whole(told.get("completion_tokens", told.get("output_tokens")), 0) or 0
    return Usage(input=max(read - cached, 0), cached=min(cached, read), output=written)


def text(event: Json) -> str:
    """What an event adds to the answer, calls of tools and thoughts included."""
    delta = event.get("delta")
    if isinstance(delta, str):
        return delta
    choices = event.get("choices")
    found: list[str] = []
    for choice in choices if isinstance(choices, list) else ():
        inner = choice.get("delta") if isinstance(choice, dict) else None
        if isinstance(inner, dict):
            found += _strings({name: value for name, value in inner.items() if name not in ("role", "tool_calls")})
            calls = inner.get("tool_calls")
            found += [part for call in (calls if isinstance(calls, list) else ()) for part in _called(call)]
    return "".join(found)


def _called(call: Any) -> list[str]:
    function = call.get("function") if isinstance(call, dict) else None
    return _strings(function) if isinstance(function, dict) else []


def _strings(part: Json) -> list[str]:
    return [value for value in part.values() if isinstance(value, str)]


def said(event: Json) -> str:
    """What an event of a chat adds to the text."""
    choices = event.get("choices")
    delta = choices[0].get("delta") if isinstance(choices, list) and choices and isinstance(choices[0], dict) else None
    content = delta.get("content") if isinstance(delta, dict) else None
    return content if isinstance(content, str) else ""


_TYPES: Final = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}


def error(status: int, code: str, message: str, _trace: str) -> Json:
    """An error as OpenAI's API has them."""
    type_ = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")  # noqa: PLR2004
    if code == "budget_exceeded":
        type_ = "insufficient_quota"
    return {"error": {"message": message, "type": type_, "param": None, "code": code}}


OPENAI = Wire(
    name="openai",
    operations=_OPERATIONS,
    request_headers={},
    credentials=lambda key: {"Authorization": f"Bearer {key}"},
    demand=demand,
    usage=usage,
    text=text,
    said=said,
    terminal=re.compile(
        rb'data: ?\[DONE\]|"finish_reason": ?"|"type": ?"response\.(completed|incomplete|failed)"|^data: ?{"error"',
        re.MULTILINE,
    ),
    error=error,
    error_event=lambda body: b"data: " + orjson.dumps(body) + b"\n\n",
)
