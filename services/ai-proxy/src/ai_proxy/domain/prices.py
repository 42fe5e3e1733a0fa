"""What tokens cost: a dated table, in integers. What nobody knows the price of is not asked for."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from importlib.resources import files
from typing import Any, Final, Self

PICO: Final = 1_000_000
"""Micro-dollars have so many parts a price is counted in: dollars for a million tokens, times this, for one."""
IMAGE_TOKENS: Final = 5_000
LONG_INPUT, LONG_OUTPUT = 2, Decimal("1.5")
"""Times the price, for the whole call, once its input is longer than `long_above`."""
_DATED: Final = re.compile(r"(-\d{4}-\d{2}-\d{2}|-\d{8}|-latest|-0)$")
_SEARCHES: Final = re.compile(r"-search(-|$)")
"""Models of which each call costs a fee, whatever its tokens."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens a provider counted, each once; `written` and `written_hour`: put into its cache for minutes or an hour."""

    input: int = 0
    cached: int = 0
    written: int = 0
    written_hour: int = 0
    output: int = 0

    @property
    def all_input(self) -> int:
        """Every token that was read."""
        return self.input + self.cached + self.written + self.written_hour

    @property
    def total(self) -> int:
        """Read and written."""
        return self.all_input + self.output


@dataclass(frozen=True, slots=True)
class Price:
    """Of one model, in millionths of micro-dollars for a token; `context` and `answer` are its limits in tokens."""

    input: int
    cached: int
    written: int
    written_hour: int
    output: int
    context: int
    answer: int
    image: int = IMAGE_TOKENS
    long_above: int | None = None

    @classmethod
    def read(cls, entry: Mapping[str, Any]) -> Self:
        """From the table's form, dollars for a million tokens; what is not priced on its own costs as input does."""
        full = entry["input"]
        parts = {name: entry.get(name, full) for name in ("input", "cached", "written", "written_hour")}
        return cls(
            **{name: int(Decimal(str(value)) * PICO) for name, value in (parts | {"output": entry["output"]}).items()},
            context=entry["context"],
            answer=entry["answer"],
            image=entry.get("image", IMAGE_TOKENS),
            long_above=entry.get("long_above"),
        )

    def cost(self, usage: Usage) -> int:
        """Micro-dollars, rounded up."""
        read = (
            usage.input * self.input
            + usage.cached * self.cached
            + usage.written * self.written
            + usage.written_hour * self.written_hour
        )
        written = usage.output * self.output
        if self.long_above is not None and usage.all_input > self.long_above:
            read, written = read * LONG_INPUT, int(written * LONG_OUTPUT)
        return -(-(read + written) // PICO)

    def worst(self, input_tokens: int, output_tokens: int, *, caches: bool) -> int:
        """Micro-dollars this may cost at most, whatever the provider reads from or writes to its cache."""
        if not caches:
            return self.cost(Usage(input=input_tokens, output=output_tokens))
        dearest = max(self.input, self.written, self.written_hour)
        factor = -(-dearest // self.input) if self.input else 1
        extra = (factor - 1) * input_tokens * self.input
        if self.long_above is not None and input_tokens > self.long_above:
            extra *= LONG_INPUT
        return self.cost(Usage(input=input_tokens, output=output_tokens)) - (-extra // PICO)


@dataclass(frozen=True)
class PriceTable:
    """Prices by model name; dated names of a model cost what it does."""

    as_of: str
    models: Mapping[str, Price]
    unknown: str | None = None

    @classmethod
    def load(cls, more: Mapping[str, Mapping[str, Any]], unknown: str | None) -> Self:
        """The package's table and what settings add. Raises `KeyError` if `unknown` is not in it."""
        table = json.loads(files(__package__).joinpath("prices.json").read_text())
        models = {name: Price.read(entry) for name, entry in {**table["models"], **more}.items()}
        if unknown is not None:
            models[unknown]
        return cls(table["as_of"], models, unknown)

    def of(self, model: str) -> Price:
        """A model's price."""
        return self.models.get(model) or self.models.get(_DATED.sub("", model)) or self.of_unknown

    def knows(self, model: str) -> bool:
        """Whether it is in the table."""
        return model in self.models or _DATED.sub("", model) in self.models

    def priced(self, model: str) -> bool:
        """Whether its tokens say what a call of it costs."""
        return _SEARCHES.search(model) is None and (self.unknown is not None or self.knows(model))

    @cached_property
    def of_unknown(self) -> Price:
        """What stands for the price of a model nobody has told it of: that of `unknown`, else the dearest."""
        if self.unknown is not None:
            return self.models[self.unknown]
        every = self.models.values()
        return Price(
            **{
                name: max(getattr(price, name) for price in every)
                for name in ("input", "cached", "written", "written_hour", "output", "context", "answer", "image")
            }
        )
