"""Pure decisions of sync: no I/O, no clock, no chance, so that a seeded simulator can drive the same code."""

from .cursor import Cursor, Position, Positions, pack, read_cursor, unpack
from .feed import INLINE_BYTES, Head, Page, Plan, at_rest, in_order, inline_bytes, is_placed, plan, turn
from .items import ENTITIES, SUM_MODULUS, Key, Tally, checksum, entity_of, heads, hexadecimal, placed, recount, signed
from .log import (
    GENESIS,
    Admission,
    Checked,
    Entry,
    Logged,
    Scope,
    admit,
    append,
    chain,
    check,
    commitment,
    in_order_of_arrival,
    left_by,
    named,
    nameless,
    personal,
    scopes_of,
)

__all__ = [
    "ENTITIES", "GENESIS", "INLINE_BYTES", "SUM_MODULUS", "Admission", "Checked", "Cursor", "Entry", "Head", "Key",
    "Logged", "Page", "Plan", "Position", "Positions", "Scope", "Tally", "admit", "append", "at_rest", "chain",
    "check", "checksum", "commitment", "entity_of", "heads", "hexadecimal", "in_order", "in_order_of_arrival",
    "inline_bytes", "is_placed", "left_by", "named", "nameless", "pack", "personal", "placed", "plan",
    "read_cursor", "recount", "scopes_of", "signed", "turn", "unpack",
]  # fmt: skip
