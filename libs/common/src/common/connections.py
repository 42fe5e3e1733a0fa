"""The registry of open connections: whoever loses a right loses the sockets and streams that show what it was for.

Sockets and streams register here; revocations, however they arrive, end or re-check those they concern.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

from common.auth import Principal, Revocations
from common.errors import ServiceError

log = logging.getLogger(__name__)

RECHECKS_AT_ONCE = 32
SESSION_REVOKED = "session_revoked"
ACCESS_LOST = "access_lost"
DRAINING = "draining"


@dataclass(eq=False, slots=True)
class OpenConnection:
    """A socket or stream: whose it is, what it shows, how to ask whether it still may, how to end it."""

    principal: Principal
    subjects: Collection[UUID]
    """Workspaces, folders and documents it shows something of."""
    allowed: Callable[[], Awaitable[bool]]
    """Decides anew, reading through if need be; what it raises counts as no."""
    close: Callable[[str], None]
    """Ends it for a reason (`session_revoked`, `access_lost`); must not block."""


class Connections:
    """A process's open connections, by what may end them."""

    def __init__(self, revocations: Revocations) -> None:
        self._by_key: dict[UUID, set[OpenConnection]] = defaultdict(set)
        self._rechecks: set[asyncio.Task[None]] = set()
        self._waiting: set[OpenConnection] = set()
        self._free = asyncio.Semaphore(RECHECKS_AT_ONCE)
        self._revocations = revocations
        revocations.listeners.append(self._heard)

    @contextmanager
    def registered(self, connection: OpenConnection) -> Iterator[None]:
        """Keep a connection registered while the block runs."""
        principal = connection.principal
        keys = {principal.session_id, principal.user_id, *connection.subjects}
        for key in keys:
            self._by_key[key].add(connection)
        try:
            yield
        finally:
            for key in keys:
                self._by_key[key].discard(connection)
                if not self._by_key[key]:
                    del self._by_key[key]

    def ended(self, connection: OpenConnection) -> bool:
        """Whether its session ended before it was registered, so that nothing will tell it."""
        return self._revocations.session_ended(connection.principal.session_id)

    def drain(self) -> None:
        """End all of them: this process is about to stop."""
        for connection in self._all():
            connection.close(DRAINING)

    def _all(self) -> set[OpenConnection]:
        return {connection for found in self._by_key.values() for connection in found}

    def __len__(self) -> int:
        return len(self._all())

    def _heard(self, entry: str) -> None:
        kind, *ids = entry.split(":")
        if kind == "session":
            for connection in list(self._by_key.get(UUID(ids[0]), ())):
                connection.close(SESSION_REVOKED)
            return
        concerned = ids[1] if kind in ("member", "group") else ids[0]
        for connection in list(self._by_key.get(UUID(concerned), ())):
            self._recheck(connection)

    def _recheck(self, connection: OpenConnection) -> None:
        """Once, however many announcements come at the same time."""
        if connection in self._waiting:
            return
        self._waiting.add(connection)
        task = asyncio.get_running_loop().create_task(self._check(connection))
        self._rechecks.add(task)
        task.add_done_callback(self._rechecks.discard)

    async def _check(self, connection: OpenConnection) -> None:
        async with self._free:
            self._waiting.discard(connection)  # what is announced from here on is not seen by this check any more
            try:
                allowed = await connection.allowed()
            except ServiceError as error:
                log.info("a connection's right could not be confirmed", extra={"fields": {"cause": repr(error)}})
                allowed = False
        if not allowed:
            connection.close(ACCESS_LOST)
