"""The arithmetic of budgets, pure: what is spent and reserved in a scope, and what a limit lets through.

`ai_proxy.reserve` and `ai_proxy.settle` do the same in the database, on locked rows; a test holds them together.
"""

from dataclasses import dataclass, field, replace
from typing import NamedTuple


class Amount(NamedTuple):
    """Tokens and micro-dollars."""

    tokens: int = 0
    micro_usd: int = 0

    def plus(self, other: "Amount") -> "Amount":
        """Sum."""
        return Amount(self.tokens + other.tokens, self.micro_usd + other.micro_usd)

    def minus(self, other: "Amount") -> "Amount":
        """Difference."""
        return Amount(self.tokens - other.tokens, self.micro_usd - other.micro_usd)


@dataclass(frozen=True, slots=True)
class Limit:
    """The most that may be spent in a period; None: any amount."""

    tokens: int | None = None
    micro_usd: int | None = None

    def allows(self, amount: Amount) -> bool:
        """Whether so much may be spent in all."""
        return (self.tokens is None or amount.tokens <= self.tokens) and (
            self.micro_usd is None or amount.micro_usd <= self.micro_usd
        )


@dataclass(frozen=True, slots=True)
class Account:
    """A scope in a period."""

    spent: Amount = field(default_factory=Amount)
    reserved: Amount = field(default_factory=Amount)
    calls: int = 0

    def admits(self, worst: Amount, limit: Limit) -> bool:
        """Whether a call may begin that costs `worst` at most, with all that is under way costing its worst too."""
        return limit.allows(self.spent.plus(self.reserved).plus(worst))

    def reserve(self, worst: Amount) -> "Account":
        """A call begins."""
        return replace(self, reserved=self.reserved.plus(worst))

    def settle(self, worst: Amount, real: Amount) -> "Account":
        """It has ended, and cost `real`."""
        return Account(self.spent.plus(real), self.reserved.minus(worst), self.calls + 1)
