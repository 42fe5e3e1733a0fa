"""What both formats have in common: operations, demands, and counting beside a stream instead of in it."""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from ...errors import RequestRefusedError
from ..prices import Price, Usage

BYTES_A_TOKEN: Final = 4
"""Of text, on average: for estimates. No token is shorter than a byte: for bounds."""
FRAME_TOKENS: Final = 64
TOOLS_TOKENS: Final = 2_000
"""What a provider adds to a request of its own accord, at most: a frame, and how to use tools."""
FOLD_BYTES: Final = 256 * 1024
EVENT_BYTES: Final = 8 * 1024 * 1024
"""A longer event is no event."""

_DONE: Final = (b"\ndata: [DONE]", b"\ndata:[DONE]")
_MODEL: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9:_-]|\.(?!\.)){0,99}")

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Operation:
    """Something a provider does; `path` is the provider's, below its base URL.

    `fields`: what bounds of a call can be read from; with others it could cost more.
    """

    name: str
    method: str
    path: str
    fields: frozenset[str] = frozenset()
    priced: bool = True
    query: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Demand:
    """What a request asks for. `text_bytes` and `images` bound its input, `opaque` says nothing does but the model.

    `batched`: each part of the input has the model's context to itself, so that the whole can be longer.
    `answer_tokens`: asked for at most, None: the model's most; `answers` of them, and `foretold` tokens more of each.
    """

    model: str
    body: Json
    streamed: bool
    text_bytes: int
    images: int = 0
    opaque: bool = False
    batched: bool = False
    tools: bool = False
    caches: bool = False
    answer_tokens: int | None = None
    answers: int = 1
    foretold: int = 0
    strips_usage: bool = False
    """Whether the answer tells its usage only because we asked, so that it has to be left out of it."""

    def input_bound(self, price: Price) -> int:
        """Tokens it has at most."""
        most = self.text_bytes + self.images * price.image + FRAME_TOKENS + (TOOLS_TOKENS if self.tools else 0)
        return price.context if self.opaque else self._within(most, price)

    def input_estimate(self, price: Price) -> int:
        """Tokens it has, about."""
        about = math.ceil(self.text_bytes / BYTES_A_TOKEN) + self.images * price.image // 4
        return price.context if self.opaque else self._within(about, price)

    def _within(self, tokens: int, price: Price) -> int:
        return tokens if self.batched else min(tokens, max(price.context, 1))

    def output_bound(self, price: Price) -> int:
        """Tokens of the answer at most."""
        most = price.answer if self.answer_tokens is None else self.answer_tokens
        return (most + self.foretold) * self.answers


@dataclass(frozen=True)
class Wire:
    """A provider's format."""

    name: str
    operations: Mapping[tuple[str, str], Operation]
    request_headers: Mapping[str, str | None]
    """Of the caller's headers those passed on, with what is sent if there is none."""
    credentials: Callable[[str], Mapping[str, str]]
    demand: Callable[[Operation, Json, "Rules"], Demand]
    told: Callable[[Json], Json | None]
    """What an answer, or an event of one, says it used; later events leave out what earlier ones said."""
    counted: Callable[[Json], Usage]
    text: Callable[[Json], str]
    said: Callable[[Json], str]
    ends: Callable[[Json], int]
    """How many of the answers asked for an event ends."""
    failed: Callable[[Json], bool]
    """Whether an event says that the provider could not go on."""
    error: Callable[[int, str, str, str], Json]
    error_event: Callable[[Json], bytes]

    def usage(self, answer: Json) -> Usage | None:
        """What a whole answer says it used."""
        told = self.told(answer)
        return None if told is None else self.counted(told)

    def operation(self, method: str, path: str) -> Operation | None:
        """What a path below ours means, None if it is none of those allowed."""
        path = path.removeprefix("v1/")
        found = self.operations.get((method, path))
        if found or method != "GET" or not path.startswith("models/"):
            return found
        name = path.removeprefix("models/")
        if not _MODEL.fullmatch(name):
            return None
        return Operation("model", "GET", f"models/{name}", priced=False)


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for requests to one provider; `shared`: with a key that is not the caller's own."""

    stream_usage: bool = True
    shared: bool = True


class Tally:
    """Counts what a stream has used: chunks are only kept, and read when it ends or a lot has come together."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._chunks: list[bytes] = []
        self._held = 0
        self._rest = b""
        self._told: Json = {}
        self._ends = 0
        self._done = False
        self.answers = 1
        """How many were asked for."""
        self.text_bytes = 0
        self.deltas = 0
        self.failed = False
        """Whether the provider has said that it cannot go on."""

    def feed(self, chunk: bytes) -> None:
        """More of it. It is read at once as long as there is nothing of the answer: so it is known when that begins."""
        self._chunks.append(chunk)
        self._held += len(chunk)
        if self._held > FOLD_BYTES or (not self.deltas and b"\n" in chunk):
            self.fold()

    def fold(self) -> None:
        """Read what was kept."""
        data = self._rest + b"".join(self._chunks)
        self._chunks, self._held = [], 0
        end = data.rfind(b"\n") + 1
        self._rest = data[end:] if len(data) - end <= EVENT_BYTES else b""
        lines = data[:end]
        self._done = self._done or any(done in lines or lines.startswith(done[1:]) for done in _DONE)
        for event in events(lines):
            self._read(event)

    def _read(self, event: Json) -> None:
        if (told := self._wire.told(event)) is not None:
            self._told |= {name: value for name, value in told.items() if value or name not in self._told}
        self._ends += self._wire.ends(event)
        self.failed = self.failed or self._wire.failed(event)
        if text := self._wire.text(event):
            self.text_bytes += len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
            self.deltas += 1

    @property
    def usage(self) -> Usage | None:
        """What the provider counted, as far as it has told."""
        return self._wire.counted(self._told) if self._told else None

    @property
    def finished(self) -> bool:
        """Whether the provider has come to the end of what it had to say."""
        return not self.failed and (self._done or self._ends >= self.answers)

    @property
    def seen_tokens(self) -> int:
        """Tokens of the answer that were seen, about; a delta is one at least."""
        return max(self.deltas, math.ceil(self.text_bytes / BYTES_A_TOKEN))


def events(data: bytes) -> Iterator[Json]:
    """JSON objects in the `data` lines of Server-Sent Events; what is none is passed over."""
    for line in data.split(b"\n"):
        if line.startswith(b"data:") and line[5:6] in (b" ", b"{"):
            try:
                event = orjson.loads(line[5:])
            except orjson.JSONDecodeError:
                continue
            if isinstance(event, dict):
                yield event


def dumped(body: Json) -> bytes:
    """As it is sent. Raises `RequestRefusedError` for what is nested too deeply for that."""
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError:
        raise RequestRefusedError("the body is nested too deeply") from None


def highest(*limits: Any) -> int | None:
    """The highest limit given; None if there is none, or one that servers may each take in another way."""
    counts = [whole(limit) for limit in limits if limit is not None]
    return max((count or 0 for count in counts), default=None) if all(counts) else None


def known(body: Json, fields: frozenset[str]) -> Json:
    """Those of the fields that are given. Raises `RequestRefusedError` for others: one could ask for more than that."""
    for name, value in body.items():
        if name not in fields and value is not None:
            raise RequestRefusedError(f"{name[:100]}: this field cannot be used through this proxy")
    return {name: value for name, value in body.items() if name in fields}


def whole(value: Any, default: int | None = None) -> int | None:
    """A count somebody sent, if it is one."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**40 else default
