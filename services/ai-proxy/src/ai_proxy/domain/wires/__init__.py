"""The two wire formats: what a request may cost, what an answer says it used, how an error looks."""

from .anthropic import ANTHROPIC
from .openai import OPENAI
from .wire import Demand, Operation, Tally, Wire, dumped

WIRES = {wire.name: wire for wire in (OPENAI, ANTHROPIC)}

__all__ = ["ANTHROPIC", "OPENAI", "WIRES", "Demand", "Operation", "Tally", "Wire", "dumped"]
