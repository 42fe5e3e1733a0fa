"""Who is in a room: states are signed by the server, bound to the connection they came by, and end with it."""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

from ..domain.presence import GONE, Entry, signed

REMOTE_SECONDS: Final = 30.0
"""Without a word from another process so long, its clients are gone: they renew every 15 s (y-protocols)."""
PER_MEMBER: Final = 8
"""Yjs clients behind one connection."""


class Here(NamedTuple):
    """A client that is present; `owner` is None if it is at another process."""

    entry: Entry
    owner: object | None
    user_id: str
    heard_at: float


class Presence:
    """The clients of one room, and those whose change has not been told yet."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._here: dict[int, Here] = {}
        self.untold: set[int] = set()
        """Clients of this process whose state is news to others."""
        self._left: dict[int, Entry] = {}
        self._owned: Counter[object] = Counter()

    def __len__(self) -> int:
        return len(self._here)

    def take(self, owner: object, user: dict[str, Any], entries: Iterable[Entry]) -> bool:
        """A connection tells states: of its own clients, or what it heard of others, which counts for nothing.

        Whether something is to be told. Raises `FrameInvalidError`.
        """
        before = len(self.untold)
        for entry in entries:
            known = self._here.get(entry.client)
            if known and entry.clock <= known.entry.clock and not (known.owner is owner and entry.state == GONE):
                continue
            if known and known.owner is not owner and (known.user_id != user["id"] or entry.state == GONE):
                continue
            if known is None and (entry.state == GONE or self._owned[owner] >= PER_MEMBER):
                continue
            self._put(entry.client, Entry(entry.client, entry.clock, signed(entry.state, user)), owner, user["id"])
        return len(self.untold) > before

    def _put(self, client: int, entry: Entry, owner: object | None, user_id: str) -> None:
        if before := self._here.pop(client, None):
            self._owned[before.owner] -= 1
        if entry.state == GONE:
            self._left[client] = entry
        else:
            self._owned[owner] += 1
            self._here[client] = Here(entry, owner, user_id, self._now())
            self._left.pop(client, None)
        self.untold.add(client)

    def leave(self, owner: object) -> bool:
        """A connection is over. Whether somebody was behind it."""
        mine = [client for client, here in self._here.items() if here.owner is owner]
        for client in mine:
            entry = self._here[client].entry
            self._put(client, Entry(client, entry.clock, GONE), None, "")
        self._owned.pop(owner, None)
        return bool(mine)

    def hear(self, entries: Iterable[tuple[Entry, str]]) -> list[Entry]:
        """Another process tells of its clients; those that are news."""
        news = []
        for entry, user_id in entries:
            known = self._here.get(entry.client)
            if known and known.owner is not None:
                continue
            if known and entry.clock <= known.entry.clock and entry.state != GONE:
                self._here[entry.client] = known._replace(heard_at=self._now())
                continue
            if entry.state == GONE:
                if known is None or entry.clock < known.entry.clock:
                    continue
                del self._here[entry.client]
            else:
                self._here[entry.client] = Here(entry, None, user_id, self._now())
            news.append(entry)
        return news

    def expire(self) -> list[Entry]:
        """Forget clients of other processes that have not been heard of; what is to be told of them."""
        before = self._now() - REMOTE_SECONDS
        silent = [here.entry for here in self._here.values() if here.owner is None and here.heard_at < before]
        for entry in silent:
            del self._here[entry.client]
        return [Entry(entry.client, entry.clock, GONE) for entry in silent]

    def news(self) -> list[tuple[Entry, str]]:
        """What has not been told, once."""
        told = []
        for client in self.untold:
            if here := self._here.get(client):
                told.append((here.entry, here.user_id))
            elif client in self._left:
                told.append((self._left[client], ""))
        self.untold, self._left = set(), {}
        return told

    def everybody(self) -> list[Entry]:
        """All states, for somebody who joins."""
        return [here.entry for here in self._here.values()]

    def own(self) -> list[tuple[Entry, str]]:
        """Clients of this process."""
        return [(here.entry, here.user_id) for here in self._here.values() if here.owner is not None]
