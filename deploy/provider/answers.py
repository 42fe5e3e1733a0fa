"""Answers by rules: the most fitting sentence for a question, small edits, tool calls and JSON as their schemas say."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from deploy.provider.prompt import Call, Prompt, Reply, Tool, limited

WORD = re.compile(r"\w{3,}")
SENTENCE = re.compile(r"[^.!?\n]+[.!?]?")
PAGE = re.compile(
    r"""<page\b[^>]*?\b(?:n|number|id)=["']?(\d+)[^>]*>|\[(?:page|p\.)\s*(\d+)\]|(?:^|\n)-*\s*page (\d+)\b""",
    re.IGNORECASE,
)
COMMON = frozenset(
    re.findall(
        r"\w+",
        "the and for are was were with that this what which who whom how why when where does did has have had from "
        "into about your you our its not can could should would will may there their they them than then also any all",
    )
)
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
    if "?" in last and (found := quoted(last, [turn.text for turn in prompt.turns])):
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


@dataclass(frozen=True)
class _Sentence:
    text: str
    page: str | None


def quoted(question: str, texts: Sequence[str]) -> str | None:
    """The sentence that shares most words with the question, with its page; None if none shares any."""
    wanted = _words(question)
    best, most = None, 0
    for text in texts:
        for sentence in _sentences(text):
            shared = 0 if "?" in sentence.text else len(wanted & _words(sentence.text))
            if shared > most:
                best, most = sentence, shared
    if best is None:
        return None
    return f"“{best.text}”" + (f" [page {best.page}]" if best.page else "")


def _sentences(text: str) -> Iterator[_Sentence]:
    """The sentences, each with the page mark last before it."""
    page, at = None, 0
    for mark in [*PAGE.finditer(text), None]:
        for match in SENTENCE.finditer(text, at, mark.start() if mark else len(text)):
            if plain := " ".join(re.sub(r"<[^>]*>", " ", match[0]).split()).strip(" #>*-|"):
                yield _Sentence(plain, page)
        if mark:
            page, at = next(filter(None, mark.groups())), mark.end()


def _words(text: str) -> set[str]:
    return {word for word in WORD.findall(text.lower()) if word not in COMMON}
