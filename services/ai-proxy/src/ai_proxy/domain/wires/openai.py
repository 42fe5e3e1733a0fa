"""OpenAI's format: chat completions, responses, embeddings."""

from collections.abc import Iterator
from typing import Any, Final

import orjson

from ...errors import RequestRefusedError
from ..prices import Usage
from .wire import Demand, Json, Operation, Rules, Wire, dumped, highest, known, whole

_CHAT_FIELDS: Final = frozenset((
    "model", "messages", "audio", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs",
    "max_completion_tokens", "max_tokens", "metadata", "modalities", "n", "parallel_tool_calls", "prediction",
    "presence_penalty", "prompt_cache_key", "prompt_cache_retention", "reasoning_effort", "response_format",
    "safety_identifier", "seed", "service_tier", "stop", "store", "stream", "stream_options", "temperature",
    "tool_choice", "tools", "top_logprobs", "top_p", "user", "verbosity",
))  # fmt: skip
_RESPONSES_FIELDS: Final = frozenset((
    "model", "input", "background", "conversation", "include", "instructions", "max_output_tokens", "max_tool_calls",
    "metadata", "parallel_tool_calls", "previous_response_id", "prompt", "prompt_cache_key", "prompt_cache_retention",
    "reasoning", "safety_identifier", "service_tier", "store", "stream", "stream_options", "temperature", "text",
    "tool_choice", "tools", "top_logprobs", "top_p", "truncation", "user",
))  # fmt: skip
_EMBEDDINGS_FIELDS: Final = frozenset(("model", "input", "dimensions", "encoding_format", "user"))
_CHAT: Final = Operation("chat", "POST", "chat/completions", _CHAT_FIELDS)
_RESPONSES: Final = Operation("responses", "POST", "responses", _RESPONSES_FIELDS)
_EMBEDDINGS: Final = Operation("embeddings", "POST", "embeddings", _EMBEDDINGS_FIELDS)
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
                    parts = parts if isinstance(parts, list) else [parts]
                    yield from (part for part in parts if isinstance(part, dict))


def _media(part: Json) -> tuple[int, bool, bool]:
    """Bytes of a part that are no text, whether it is an image, whether nothing bounds its tokens."""
    kind = part.get("type")
    if kind in ("image_url", "input_image", "computer_screenshot"):
        place = part.get("image_url")
        url = place.get("url") if isinstance(place, dict) else place
        return (len(url) if isinstance(url, str) else 0), True, False
    if kind in ("input_audio", "file", "input_file"):
        inner = part.get(kind)
        data = inner.get(_DATA[kind]) if isinstance(inner, dict) and kind in _DATA else part.get("file_data")
        return (len(data) if isinstance(data, str) else 0), False, True
    return 0, False, _refers(part)


def _refers(part: Json) -> bool:
    """Whether it is there by its id only: a file, an item, an answer that was spoken."""
    bare = part.get("type") is None and "role" not in part and "id" in part
    named = ((part, "file_id"), (part.get("file"), "file_id"), (part.get("audio"), "id"))
    found = any(isinstance(inner, dict) and inner.get(name) is not None for inner, name in named)
    return bare or found or part.get("type") == "item_reference"


def _refuse(body: Json, rules: Rules) -> None:
    """Raises `RequestRefusedError` for what cannot be counted, or would be shared with others."""
    if body.get("background"):
        raise RequestRefusedError("background: an answer that is fetched later cannot be had through this proxy")
    tools = body.get("tools")
    for tool in tools if isinstance(tools, list) else ():
        if isinstance(tool, dict) and tool.get("type") not in CLIENT_TOOLS:
            raise RequestRefusedError(f"tools: only {' and '.join(CLIENT_TOOLS)} tools can be used through this proxy")
    if body.get("service_tier") not in (None, "auto", "default", "flex"):
        raise RequestRefusedError("service_tier: this one has prices of its own")
    if rules.shared:
        for name in STATE:
            if body.get(name) is not None:
                raise RequestRefusedError(f"{name}: state at the provider needs a key of your own")
        if any(map(_refers, _parts(body))):
            raise RequestRefusedError("file_id: what lies at the provider needs a key of your own")


def _without_caller(operation: Operation, body: Json, rules: Rules) -> Json:
    """Leave out who asks; with a shared key nothing is kept at the provider either."""
    names = ("user", "safety_identifier", *(("store", "metadata") if rules.shared else ()))
    body = {name: value for name, value in body.items() if name not in names}
    return {**body, "store": False} if operation is _RESPONSES and rules.shared else body


def _answers(operation: Operation, body: Json) -> int:
    """How many are asked for. Raises `RequestRefusedError` for what servers may each take in another way."""
    given = body.get("n")
    if operation is not _CHAT or given is None:
        return 1
    count = whole(given)
    if not count or count > MOST_ANSWERS:
        raise RequestRefusedError(f"n: a whole number from 1 to {MOST_ANSWERS}")
    return count


def _answer_tokens(operation: Operation, body: Json) -> int | None:
    if operation is _EMBEDDINGS:
        return 0
    names = ("max_output_tokens",) if operation is _RESPONSES else ("max_completion_tokens", "max_tokens")
    return highest(*(body.get(name) for name in names))


def demand(operation: Operation, body: Json, rules: Rules) -> Demand:
    """What a request asks for. Raises `RequestRefusedError`."""
    model = body.get("model")
    if not isinstance(model, str) or not 0 < len(model) <= 200:  # noqa: PLR2004
        raise RequestRefusedError("model: name one")
    body = known(body, operation.fields)
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
    return Demand(
        model=model,
        body=body,
        streamed=streamed,
        text_bytes=max(0, length - sum(hidden for hidden, _, _ in media)),
        images=sum(image for _, image, _ in media),
        opaque=any(opaque for _, _, opaque in media) or any(body.get(name) is not None for name in STATE),
        batched=operation is _EMBEDDINGS,
        tools=bool(body.get("tools") or body.get("functions")),
        answer_tokens=_answer_tokens(operation, body),
        answers=_answers(operation, body),
        foretold=len(dumped({"content": body["prediction"]})) if body.get("prediction") else 0,
        strips_usage=strips,
    )


def told(answer: Json) -> Json | None:
    """What an answer, or an event of one, says it used."""
    if isinstance(inner := answer.get("response"), dict):  # the events of `responses` wrap it
        answer = inner
    found = answer.get("usage")
    return found if isinstance(found, dict) else None


def counted(told: Json) -> Usage:
    """What that is in tokens."""
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
            found += [
                value for name, value in inner.items() if isinstance(value, str) and name not in ("role", "tool_calls")
            ]
            if isinstance(calls := inner.get("tool_calls"), list):
                found += [part for call in calls for part in _called(call)]
    return "".join(found)


def _called(call: Any) -> list[str]:
    function = call.get("function") if isinstance(call, dict) else None
    return _strings(function) if isinstance(function, dict) else []


def _strings(part: Json) -> list[str]:
    return [value for value in part.values() if isinstance(value, str)]


def ends(event: Json) -> int:
    """How many of the answers asked for an event ends."""
    if event.get("type") in ("response.completed", "response.incomplete"):
        return 1
    choices = event.get("choices")
    found = choices if isinstance(choices, list) else ()
    return sum(isinstance(one, dict) and isinstance(one.get("finish_reason"), str) for one in found)


def failed(event: Json) -> bool:
    """Whether it says that the provider could not go on."""
    return event.get("type") in ("error", "response.failed") or bool(event.get("error"))


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
    told=told,
    counted=counted,
    text=text,
    said=said,
    ends=ends,
    failed=failed,
    error=error,
    error_event=lambda body: b"data: " + orjson.dumps(body) + b"\n\n",
)
