"""What a request asks for, whatever its dialect, and what is answered: text in pieces, tool calls, tokens."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

Json = dict[str, Any]
End = Literal["stop", "stop_sequence", "length", "tools"]

PIECE = re.compile(r"\s*(?:\w{1,8}|[^\w\s])|\s+")
MESSAGE_TOKENS = 3
IMAGE_TOKENS = 85
MEANINGLESS = ["the", "quick", "brown", "fox", "jumps", "over", "the", "lazy", "dog", "and", "runs", "away"]


class RefusedError(Exception):
    """The provider would not take this request."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        parameter: str | None = None,
        code: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.parameter = parameter
        self.code = code
        self.retry_after = retry_after


def pieces(text: str) -> list[str]:
    """The text as tokens, which joined are the text."""
    return PIECE.findall(text)


@dataclass(frozen=True)
class Turn:
    """A message of the conversation, its text parts joined."""

    role: str
    text: str


@dataclass(frozen=True)
class Tool:
    """A function the caller offers."""

    name: str
    schema: Mapping[str, Any]


@dataclass(frozen=True)
class Prompt:
    """A request for text."""

    model: str
    turns: Sequence[Turn]
    """System texts included, their role is `system`."""
    images: Sequence[str] = ()
    """In words: media type and size, or address."""
    tools: Sequence[Tool] = ()
    forced: str | None = None
    """Name of the tool that must be called, `*` for any, None if the caller leaves it open."""
    may_call: bool = True
    schema: Mapping[str, Any] | None = None
    """Of the JSON asked for."""
    most: int | None = None
    """Tokens of the answer."""
    stop: Sequence[str] = ()
    stream: bool = False
    usage_in_stream: bool = True
    choices: int = 1
    extra: str = ""
    """What else was read: tool definitions, schema."""

    @cached_property
    def tokens(self) -> int:
        """Of everything that was read."""
        read = sum(len(pieces(turn.text)) + MESSAGE_TOKENS for turn in self.turns)
        return read + len(pieces(self.extra)) + IMAGE_TOKENS * len(self.images)

    @property
    def last(self) -> Turn:
        """The last message."""
        return self.turns[-1] if self.turns else Turn("user", "")


@dataclass(frozen=True)
class Call:
    """A tool to be called with arguments as JSON."""

    name: str
    arguments: str


@dataclass(frozen=True)
class Reply:
    """One answer."""

    text: Sequence[str] = ()
    """In pieces of one token."""
    calls: Sequence[Call] = ()
    end: End = "stop"
    stopped_by: str | None = None

    @cached_property
    def tokens(self) -> int:
        """Of this answer."""
        return len(self.text) + sum(len(pieces(call.name)) + len(pieces(call.arguments)) for call in self.calls)

    @property
    def joined(self) -> str:
        return "".join(self.text)


def words(count: int, each: str | None = None) -> Reply:
    """An answer of exactly so many tokens, all of them `each` if given."""
    if each is not None:
        return Reply([each] * count)
    return Reply([f"{' ' if n else ''}{MEANINGLESS[n % len(MEANINGLESS)]}" for n in range(count)])


def limited(text: str, prompt: Prompt) -> Reply:
    """The text as an answer that ends at a stop sequence or at the most tokens asked for."""
    found = [(text.index(stop), stop) for stop in prompt.stop if stop and stop in text]
    at, stopped_by = min(found, default=(len(text), None))
    whole = pieces(text[:at])
    if prompt.most is not None and len(whole) > prompt.most:
        return Reply(whole[: prompt.most], end="length")
    return Reply(whole, end="stop_sequence" if stopped_by else "stop", stopped_by=stopped_by)


@dataclass(frozen=True)
class Counted:
    """Usage as it is told."""

    read: int
    written: int


@dataclass(frozen=True)
class Rendered:
    """An answer as it goes over the wire."""

    whole: bytes = b""
    """Without streaming."""
    head: Sequence[bytes] = ()
    pieces: Sequence[bytes] = ()
    """One token of text each; for tools a part of the arguments."""
    tail: Sequence[bytes] = ()
    error: bytes = b""
    """The event that tells of an error in the middle of a stream."""
    headers: Mapping[str, str] = field(default_factory=dict)
