"""Group commit: what all rooms of the process have waiting becomes durable in one transaction, again and again.

While one is under way the next one gathers, so under load there are fewer and larger ones, and at rest an edit
waits for nobody.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final
from uuid import UUID

from common.database import DatabaseUnavailableError

from ..errors import LogUnavailableError, ReopenedError
from .room import Batch, Room

log = logging.getLogger(__name__)

INTERVAL_SECONDS: Final = 0.005
"""Between the beginnings of two commits."""
MAX_COMMIT_BYTES: Final = 32 * 1024 * 1024
GIVE_UP_SECONDS: Final = 10.0
"""After so long without a database, clients are told to come again: they still have what they wrote."""
RETRY_SECONDS: Final = (0.05, 1.0)

Append = Callable[[Sequence[Batch]], Awaitable[dict[UUID, int]]]
"""Writes batches into the log, all or none: the number of each room's entry; a room of another lineage has none."""


class GroupCommit:
    """The one writer of a process. `committed` hears of every batch once its room has told its members."""

    def __init__(self, append: Append, committed: Callable[[Batch, int], None]) -> None:
        self._append = append
        self._committed = committed
        self._dirty: dict[Room, None] = {}
        self._wake = asyncio.Event()
        self.seconds = 0.0
        """How long the last commit took."""

    def mark(self, room: Room) -> None:
        """Something waits in this room."""
        self._dirty[room] = None
        self._wake.set()

    async def run(self) -> None:
        """Commit for the life of the process."""
        begun = 0.0
        while True:
            await self._wake.wait()
            if (rest := begun + INTERVAL_SECONDS - time.monotonic()) > 0:
                await asyncio.sleep(rest)
            begun = time.monotonic()
            await self.commit()
            self.seconds = time.monotonic() - begun

    async def commit(self) -> None:
        """Write what waits now."""
        self._wake.clear()
        batches = self._gather()
        if not batches:
            return
        try:
            numbers = await self._write(batches)
        except DatabaseUnavailableError:
            self._lose(batches)
            return
        for batch in batches:
            if (seq := numbers.get(batch.room.id)) is None:
                self._refuse(batch, ReopenedError())  # whether a client may go on is seen when it comes again
                continue
            try:
                batch.room.settle(batch, seq)
                self._committed(batch, seq)
            except Exception as error:  # noqa: BLE001 - whatever is wrong with one room, the others go on
                self._broken(batch.room, error)

    def _gather(self) -> list[Batch]:
        """What rooms have waiting, until it is much: the rest comes with the next commit."""
        batches: list[Batch] = []
        size = 0
        for room in list(self._dirty):
            if size > MAX_COMMIT_BYTES:
                self._wake.set()
                break
            del self._dirty[room]
            if room.closed:
                continue
            try:
                batch = room.prepare()
            except Exception as error:  # noqa: BLE001
                self._broken(room, error)
                continue
            if batch:
                batches.append(batch)
                size += len(batch.payload)
        return batches

    @staticmethod
    def _broken(room: Room, error: Exception) -> None:
        fields = {"document": str(room.id)}
        log.error("a room is broken, it is read anew", exc_info=error, extra={"fields": fields})
        room.fail(ReopenedError())

    async def _write(self, batches: Sequence[Batch]) -> dict[UUID, int]:
        """Try until it is done: written twice, after an answer was lost, an update is still the same update."""
        until, pause = time.monotonic() + GIVE_UP_SECONDS, RETRY_SECONDS[0]
        while True:
            try:
                return await self._append(batches)
            except DatabaseUnavailableError as error:
                if time.monotonic() + pause > until:
                    raise
                log.warning("edits not saved yet", extra={"fields": {"cause": str(error), "rooms": len(batches)}})
                await asyncio.sleep(pause)
                pause = min(2 * pause, RETRY_SECONDS[1])

    def _lose(self, batches: Sequence[Batch]) -> None:
        log.error("edits could not be saved, clients are asked to come again", extra={"fields": {"n": len(batches)}})
        for batch in batches:
            self._refuse(batch, LogUnavailableError())

    @staticmethod
    def _refuse(batch: Batch, error: LogUnavailableError | ReopenedError) -> None:
        for writer in batch.writers:
            writer.refused(error)
        batch.room.fail(error)
