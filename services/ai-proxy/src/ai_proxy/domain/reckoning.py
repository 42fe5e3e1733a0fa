"""What a call may use at most and what it has used, as far as anybody can tell."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from .ledger import Amount
from .prices import Price, Usage
from .wires import Demand

UNSEEN_TOKENS_A_SECOND: Final = 100
"""What a model writes, about: while it thinks, or when its answer is to come as a whole, nobody sees it."""


def worst(demand: Demand, prices: Iterable[Price]) -> Amount:
    """What it may come to at most, at whichever of the prices."""
    most = Amount()
    for price in prices:
        read, written = demand.input_bound(price), demand.output_bound(price)
        money = price.worst(read, written, caches=demand.caches)
        most = Amount(max(most.tokens, read + written), max(most.micro_usd, money))
    return most


@dataclass(frozen=True, slots=True)
class Sight:
    """How much of an answer has come: `seen` tokens, about, after `dark_seconds` in which nothing of it did."""

    demand: Demand
    price: Price
    streamed: bool
    seen: int
    dark_seconds: float

    @property
    def written(self) -> int:
        """Tokens the model has written by now, about; what came as a whole was written in the dark."""
        unseen = int(self.dark_seconds * UNSEEN_TOKENS_A_SECOND) * self.demand.answers
        written = unseen + self.seen if self.streamed else max(unseen, self.seen)
        return min(written, self.demand.output_bound(self.price))

    def used(self, told: Usage | None, *, completed: bool) -> tuple[Usage, bool]:
        """What is counted, and whether that is an estimate: the provider is believed unless it says absurdly little."""
        told = told or Usage()
        answered = self.seen > 0 and self.demand.output_bound(self.price) > 0
        if completed and told.all_input and (told.output or not answered):
            return told, False
        if not told.all_input:
            told = Usage(input=self.demand.input_estimate(self.price), output=told.output)
        return Usage(told.input, told.cached, told.written, told.written_hour, max(told.output, self.written)), True
