"""What the two dialects have in common: reading JSON bodies into prompts, and identifiers that are always the same."""

import base64
import binascii
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from deploy.provider.prompt import Prompt, RefusedError, Turn

SILENT = ("document", "file", "input_file", "refusal", "thinking", "redacted_thinking", "tool_result")
"""Parts of messages that count as no text."""
CREATED = 1_750_000_000
"""When everything was made, so that answers are always the same."""


def identity(kind: str, prompt: Prompt) -> str:
    """An id such as `msg_dev_4f…`, the same for the same prompt."""
    return f"{kind}dev{hashlib.sha256(repr((prompt.model, prompt.turns)).encode()).hexdigest()[:24]}"


def event(data: Mapping[str, Any], name: str = "") -> bytes:
    """A server-sent event."""
    head = f"event: {name}\n".encode() if name else b""
    return b"%sdata: %s\n\n" % (head, orjson.dumps(data))


def halves(text: str) -> list[str]:
    """Tool arguments as they are streamed, in parts of 8 characters."""
    return [text[at : at + 8] for at in range(0, len(text), 8)]


def wanted(body: Mapping[str, Any], name: str, kinds: type | tuple[type, ...]) -> Any:
    """A field that must be there. Raises `RefusedError`."""
    if name not in body:
        raise RefusedError(f"Missing required parameter: '{name}'.", parameter=name, code="missing_required_parameter")
    return checked(body, name, kinds)


def checked(body: Mapping[str, Any], name: str, kinds: type | tuple[type, ...]) -> Any:
    """A field of these types, or None. Raises `RefusedError`."""
    value = body.get(name)
    if value is not None and (not isinstance(value, kinds) or (isinstance(value, bool) and kinds is int)):
        raise RefusedError(f"Invalid type for '{name}'.", parameter=name, code="invalid_type")
    return value


def most(body: Mapping[str, Any], *names: str) -> int | None:
    """The most tokens asked for. Raises `RefusedError`."""
    for name in names:
        if (value := checked(body, name, int)) is not None:
            if value < 1:
                raise RefusedError(
                    f"Invalid '{name}': must be at least 1.", parameter=name, code="integer_below_min_value"
                )
            return int(value)
    return None


def image(url: str) -> str:
    """An image in words; addresses are not fetched. Raises `RefusedError` for a data URL that holds none."""
    if not url.startswith("data:"):
        return "by address"
    kind, _, data = url.removeprefix("data:").partition(";base64,")
    return image_bytes(kind, data)


def image_bytes(kind: str, data: str) -> str:
    """An image in words. Raises `RefusedError`."""
    try:
        size = len(base64.b64decode(data, validate=True))
    except binascii.Error:
        size = 0
    if not kind.startswith("image/") or not size:
        raise RefusedError("The image data you provided does not represent a valid image.", code="invalid_image")
    return f"{kind}, {size} bytes"


def tool_text(tools: Sequence[Mapping[str, Any]], *more: Any) -> str:
    """What a model reads of tools and schemas."""
    given = [*tools, *filter(None, more)]
    return orjson.dumps(given).decode() if given else ""


def content(parts: Any, images: list[str]) -> str:
    """The text of a message; its images are added to the list. Raises `RefusedError`."""
    if parts is None or isinstance(parts, str):
        return parts or ""
    if not isinstance(parts, list):
        raise RefusedError("Invalid type for content.", parameter="messages", code="invalid_type")
    return "\n".join(filter(None, (_part(part, images) for part in parts)))


def _part(part: Any, images: list[str]) -> str:
    match part:
        case {"type": "text" | "input_text" | "output_text", "text": str(text)}:
            return text
        case {"type": "image_url", "image_url": {"url": str(url)}} | {"type": "input_image", "image_url": str(url)}:
            images.append(image(url))
        case {"type": "image", "source": {"type": "base64", "media_type": str(kind), "data": str(data)}}:
            images.append(image_bytes(kind, data))
        case {"type": "image", "source": {"type": "url", "url": str()}}:
            images.append("by address")
        case {"type": "tool_result", "content": inner}:
            return content(inner, images)
        case {"type": "document", "source": {"type": "text", "data": str(text)}}:
            return text
        case {"type": "tool_use", "input": given}:
            return orjson.dumps(given).decode()
        case {
            "type": "document" | "file" | "input_file" | "refusal" | "thinking" | "redacted_thinking" | "tool_result"
        }:
            pass
        case _:
            raise RefusedError("Invalid value for a content part.", parameter="messages", code="invalid_value")
    return ""


def turns(messages: Sequence[Any], images: list[str]) -> list[Turn]:
    """The messages. Raises `RefusedError`."""
    found = []
    for at, message in enumerate(messages):
        match message:
            case {"role": str(role)}:
                found.append(Turn("system" if role == "developer" else role, content(message.get("content"), images)))
            case _:
                raise RefusedError(
                    f"Invalid 'messages[{at}]': no role.", parameter=f"messages[{at}]", code="invalid_value"
                )
    return found
