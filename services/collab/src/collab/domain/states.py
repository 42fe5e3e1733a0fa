"""Whole states: made from Markdown and turned back. Pure, bytes in and out: it runs in worker processes."""

import hashlib
from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from pycrdt import Doc, Map

from ..errors import StateDamagedError
from .codecs import CODECS, CONVERTER_VERSION
from .engine import Replica, lacks, merged
from .wire import read_state_vector

META: Final = "meta"
_CLIENT_IDS: Final = 2**53


def seed_client(document_id: UUID, lineage: int, text: str) -> int:
    """The Yjs client id a document is seeded by: the same seed twice is no change, another one is another client."""
    named = f"{document_id}:{lineage}:{CONVERTER_VERSION}:".encode()
    return int.from_bytes(hashlib.sha256(named + text.encode()).digest()[:8], "big") % _CLIENT_IDS or 1


def seed(document_id: UUID, kind: str, lineage: int, text: str) -> tuple[int, bytes]:
    """Client id and state of a document that says `text`; its lineage is in the state of everybody in step."""
    client = seed_client(document_id, lineage, text)
    doc: Doc[Any] = Doc(client_id=client)
    doc.get(META, type=Map)["lineage"] = lineage
    CODECS[kind].seed(doc, text)
    return client, doc.get_update()


def rewrite(kind: str, updates: Sequence[bytes], old: str, new: str) -> tuple[bytes, bytes]:
    """What turns a state that says `old` into one that says `new`, and that state; `NOTHING` if they look the same."""
    doc = _doc(updates)
    made: list[bytes] = []
    subscription = doc.observe(lambda event: made.append(event.update))
    CODECS[kind].rewrite(doc, old, new)
    doc.unobserve(subscription)
    return merged(made), doc.get_update()


def export(kind: str, updates: Sequence[bytes], source: str) -> str:
    """The Markdown of a state; `source` is that of a state it grew from, whose bytes stay where nothing changed."""
    text = CODECS[kind].export(_doc(updates), source)
    return text.replace("\0", " ")  # which Markdown cannot hold; of the same length, since positions are counted


def compact(kind: str, updates: Sequence[bytes]) -> bytes | None:
    """One state for many updates, after a look at whether it says the same; None if it does not.

    A client that splits a surrogate pair makes the engine encode something else than it was told (y-crdt).
    Raises `StateDamagedError` if the updates are not complete.
    """
    replica = Replica(updates)
    whole = replica.diff()
    try:
        again = Replica([whole])
    except StateDamagedError:
        return None
    has, had = read_state_vector(again.state_vector), read_state_vector(replica.state_vector)
    return whole if has == had and _said(kind, [whole]) == _said(kind, updates) else None


def _said(kind: str, updates: Sequence[bytes]) -> str:
    return CODECS[kind].export(_doc(updates), "")


def _doc(updates: Sequence[bytes]) -> Doc[Any]:
    doc: Doc[Any] = Doc()
    for update in updates:
        doc.apply_update(update)
        if lacks(update, doc.get_state()):
            raise StateDamagedError("an update lacks what came before it")
    return doc
