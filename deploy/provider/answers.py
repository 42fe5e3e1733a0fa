"""Answers by rules: the most fitting sentence for a question, small edits, tool calls and JSON as their schemas say."""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from deploy.provider.assist import assisted
from deploy.provider.prompt import Call, Prompt, Reply, Tool, limited
from deploy.provider.quoting import Source, quoted

MOST_ECHOED = 400
DEPTH = 8


def answer(prompt: Prompt) -> Reply:
    """What is answered to this prompt, always the same."""
    last = prompt.last
    if last.role == "tool":
        return limited(f"The tool answered: {last.text[:MOST_ECHOED]}", prompt)
    if call := _call(prompt):
        return Reply(calls=[call], end="tools")
    if prompt.schema is not None:
        return limited(orjson.dumps(filled(prompt.schema, last.text)).decode(), prompt)
    return limited(_text(prompt), prompt)


def _text(prompt: Prompt) -> str:
    seen = f" I was given {len(prompt.images)} image(s): {', '.join(prompt.images)}." if prompt.images else ""
    last = prompt.last.text
    if (found := assisted(prompt)) is not None:
        return found
    if "?" in last and (found := quoted(last, [Source(turn.text) for turn in prompt.turns])):
        return found + seen
    return f"Development provider, not a model. You said: {last[:MOST_ECHOED]}{seen}"


def _call(prompt: Prompt) -> Call | None:
    """The tool the caller insists on, or whose name the last message mentions."""
    if not prompt.may_call or not prompt.tools:
        return None
    text = prompt.last.text
    named = [tool for tool in prompt.tools if tool.name in (prompt.forced, *re.findall(r"[\w-]+", text))]
    if prompt.forced and not named:
        named = list(prompt.tools)
    return _called(named[0], text) if named else None


def _called(tool: Tool, text: str) -> Call:
    return Call(tool.name, orjson.dumps(filled(tool.schema, text)).decode())


def filled(schema: Mapping[str, Any], text: str, depth: int = 0) -> Any:
    """The plainest value a JSON schema allows; strings repeat the text."""
    if "const" in schema:
        return schema["const"]
    if choices := schema.get("enum"):
        return choices[0]
    if options := schema.get("anyOf") or schema.get("oneOf"):
        return filled(options[0], text, depth)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    return _filled(kind[0] if isinstance(kind, list) else kind, schema, text, depth)


def _filled(kind: str, schema: Mapping[str, Any], text: str, depth: int) -> Any:
    plain: dict[str, Any] = {"integer": schema.get("minimum", 1), "number": schema.get("minimum", 1), "boolean": True}
    if kind == "object":
        fields = schema.get("properties", {}) if depth < DEPTH else {}
        return {name: filled(field, text, depth + 1) for name, field in fields.items()}
    if kind == "array":
        return [filled(schema.get("items", {}), text, depth + 1)] if depth < DEPTH else []
    return text[: schema.get("maxLength", MOST_ECHOED)] if kind == "string" else plain.get(kind)
