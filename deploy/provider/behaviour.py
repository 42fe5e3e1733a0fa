"""Delays and faults: what the name of a model asks for, and what was set for it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

Fault = Literal["disconnect", "half", "stall", "error", "garbage", "flood", "endless", "redirect", "silent"]
Usage = Literal["true", "none", "overrun", "zero"]


@dataclass(frozen=True)
class Behaviour:
    """How a request is treated."""

    first_byte_seconds: float = 0.0
    piece_seconds: float = 0.0
    """Between two pieces of a stream."""
    status: int = 200
    """Other than 200: this error and nothing else."""
    retry_after: int | None = None
    """Seconds, of an error."""
    fault: Fault | None = None
    pieces: int | None = None
    """Sent before the fault; half of the answer unless given."""
    tokens: int | None = None
    """Of the answer, which then is only words."""
    usage: Usage = "true"
    clock: bool = False
    """Whether each piece of a stream tells when it was sent: `CLOCK` with nanoseconds of the monotonic clock."""

    @classmethod
    def parse(cls, fields: Mapping[str, Any]) -> "Behaviour":
        """From JSON. Raises `ValueError` for what there is not."""
        if unknown := fields.keys() - cls.__dataclass_fields__.keys():
            raise ValueError(f"no such field: {', '.join(sorted(unknown))}")
        made = cls(**fields)
        if made.fault is not None and made.fault not in get_args(Fault):
            raise ValueError(f"no such fault: {made.fault}")
        return made


NAMED = {
    "dev-small": Behaviour(),
    "dev-large": Behaviour(),
    "dev-embed": Behaviour(),
    "dev-slow": Behaviour(first_byte_seconds=2.0, piece_seconds=0.05),
    "dev-endless": Behaviour(fault="endless", piece_seconds=0.01),
    "dev-no-usage": Behaviour(usage="none"),
    "dev-overrun": Behaviour(usage="overrun"),
    **{
        f"dev-{fault}": Behaviour(fault=fault)
        for fault in ("disconnect", "half", "stall", "error", "garbage", "flood", "redirect", "silent")
    },
}
"""What a name stands for, besides `dev-NNN` and `dev-words-N`."""

LISTED = ("dev-small", "dev-large", "dev-embed")
STATUS = re.compile(r"dev-([45]\d\d)", re.ASCII)
TIMED = re.compile(r"dev-clock-(\d{1,6})", re.ASCII)
TIMED_SECONDS = 0.02
CLOCK = "@%019d;"
WORDS = re.compile(r"dev-words-(\d{1,6})", re.ASCII)
EVERY = "*"
RETRY_SECONDS = 30
"""More than anybody in between waits for."""


def named(model: str) -> Behaviour | None:
    """What the model's name asks for; None if there is no such model."""
    if found := NAMED.get(model):
        return found
    if match := STATUS.fullmatch(model):
        status = int(match[1])
        return Behaviour(status=status, retry_after=RETRY_SECONDS if status in (429, 503, 529) else None)
    if match := WORDS.fullmatch(model):
        return Behaviour(tokens=int(match[1]))
    if match := TIMED.fullmatch(model):
        return Behaviour(tokens=int(match[1]), clock=True, piece_seconds=TIMED_SECONDS)
    return None


@dataclass
class _Set:
    behaviour: Behaviour
    times: int | None


class Behaviours:
    """What was set at start or by the control endpoint, on top of what names ask for."""

    def __init__(self, default: Behaviour) -> None:
        self._default = default
        self._set: dict[str, _Set] = {}

    def set(self, model: str, behaviour: Behaviour, times: int | None) -> None:
        """Treat the next `times` requests for the model so, or all."""
        self._set[model] = _Set(behaviour, times)

    def clear(self) -> None:
        self._set.clear()

    def take(self, model: str) -> Behaviour | None:
        """How this request is treated; None if there is no such model."""
        asked = named(model)
        for name in (model, EVERY) if self._set else ():
            found = self._set.get(name)
            if asked is not None and found is not None and found.times != 0:
                found.times = None if found.times is None else found.times - 1
                return found.behaviour
        if asked == NAMED["dev-small"]:
            return self._default
        if asked is not None and asked.tokens is not None and not asked.clock:
            return replace(self._default, tokens=asked.tokens)
        return asked
