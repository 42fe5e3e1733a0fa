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

_MODEL: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9:_-]|\.(?!\.)){0,99}")

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Operation:
    """Something a provider does; `path` is the provider's, below its base URL."""

    name: str
    method: str
    path: str
    priced: bool = True
    query: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Demand:
    """What a request asks for. `text_bytes` and `images` bound its input, `opaque` says nothing does but the model.

    `answer_tokens`: asked for at most, None: the model's most; `answers` of them, and `foretold` tokens more.
    """

    model: str
    body: Json
    streamed: bool
    text_bytes: int
    images: int = 0
    opaque: bool = False
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
        return price.context if self.opaque else min(most, max(price.context, 1))

    def input_estimate(self, price: Price) -> int:
        """Tokens it has, about."""
        return min(math.ceil(self.text_bytes / BYTES_A_TOKEN) + self.images * price.image // 4, price.context)

    def output_bound(self, price: Price) -> int:
        """Tokens of the answer at most."""
        most = price.answer if self.answer_tokens is None else self.answer_tokens
        return most * self.answers + self.foretold


@dataclass(frozen=True)
class Wire:
    """A provider's format."""

    name: str
    operations: Mapping[tuple[str, str], Operation]
    request_headers: Mapping[str, str | None]
    """Of the caller's headers those passed on, with what is sent if there is none."""
    credentials: Callable[[str], Mapping[str, str]]
    demand: Callable[[Operation, Json, "Rules"], Demand]
    usage: Callable[[Json], Usage | None]
    text: Callable[[Json], str]
    said: Callable[[Json], str]
    terminal: re.Pattern[bytes]
    error: Callable[[int, str, str, str], Json]
    error_event: Callable[[Json], bytes]

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
        self._found: dict[str, int] = {}
        self.text_bytes = 0
        self.deltas = 0
        self.finished = False
        """Whether the provider has come to the end of what it had to say."""

    def feed(self, chunk: bytes) -> None:
        """More of it."""
        self._chunks.append(chunk)
        self._held += len(chunk)
        if self._held > FOLD_BYTES:
            self.fold()

    def fold(self) -> None:
        """Read what was kept."""
        data = self._rest + b"".join(self._chunks)
        self._chunks, self._held = [], 0
        end = data.rfind(b"\n") + 1
        self.finished = self.finished or self._wire.terminal.search(data[:end]) is not None
        self._rest = data[end:] if len(data) - end <= EVENT_BYTES else b""
        for event in events(data[:end]):
            self._read(event)

    def _read(self, event: Json) -> None:
        if usage := self._wire.usage(event):  # later ones say more; a number once told is not forgotten
            self._found |= {name: n for name in _PARTS if (n := getattr(usage, name))}
            self._found.setdefault("input", 0)
        if text := self._wire.text(event):
            self.text_bytes += len(text.encode("utf-8", "surrogatepass"))
            self.deltas += 1

    @property
    def usage(self) -> Usage | None:
        """What the provider counted, as far as it has told."""
        return Usage(**self._found) if self._found else None

    @property
    def seen_tokens(self) -> int:
        """Tokens of the answer that were seen, about; a delta is one at least."""
        return max(self.deltas, math.ceil(self.text_bytes / BYTES_A_TOKEN))


_PARTS = ("input", "cached", "written", "written_hour", "output")


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


def whole(value: Any, default: int | None = None) -> int | None:
    """A count somebody sent, if it is one."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**40 else default
