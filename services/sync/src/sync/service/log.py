"""Events into the log, exactly once and in order; events that are missing, fetched."""

import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from uuid import UUID

from common.database import Row
from common.messaging import Envelope, UnreadableEventError

from .. import domain
from ..domain import Admission, Scope, Tally
from ..repository import LogWriter

log = logging.getLogger(__name__)

SALT_BYTES = 16


class LogService:
    """Appends events in one transaction of a consumer; `told` gets the new heads, to wake whoever waits for them."""

    def __init__(self, writer: LogWriter, told: Callable[[Mapping[Scope, int]], None]) -> None:
        self._writer = writer
        self._told = told

    async def append(self, events: Sequence[Envelope]) -> None:
        """Log those events whose predecessors are logged, park the others; each once per scope, in order per aggregate.

        Raises `UnreadableEventError` for an event that belongs nowhere.
        """
        for event in events:
            domain.scopes_of(event)
        await self._admit({event.aggregate_id: event.source for event in events}, events)

    async def skip(self, aggregate_id: UUID, producer: str, version: int) -> None:
        """Go on after `version`: the events up to it are nowhere any more, or unreadable."""
        last = await self._writer.lock_aggregates({aggregate_id: producer})
        if last[aggregate_id] >= version:
            return  # they came after all
        log.error("events missing for ever", extra={"fields": {"aggregate": str(aggregate_id), "up_to": version}})
        await self._writer.set_versions({aggregate_id: version})
        await self._admit({aggregate_id: producer}, [])

    async def _admit(self, producers: dict[UUID, str], events: Sequence[Envelope]) -> None:
        last = await self._writer.lock_aggregates(producers)
        waiting = await self._writer.parked(list(producers))
        present: dict[UUID, list[Envelope]] = {aggregate: [] for aggregate in last}
        for event in (*waiting, *events):
            present[event.aggregate_id].append(event)
        admissions = {aggregate: domain.admit(last[aggregate], found) for aggregate, found in present.items()}
        await self._settle(admissions, {(event.aggregate_id, event.version) for event in waiting})
        if applied := domain.in_order_of_arrival({key: one.apply for key, one in admissions.items()}, events):
            await self._write(applied)

    async def _settle(self, admissions: Mapping[UUID, Admission], waiting: set[tuple[UUID, int]]) -> None:
        done = [event for admission in admissions.values() for event in (*admission.apply, *admission.known)]
        park = [event for admission in admissions.values() for event in admission.park]
        if unpark := [event for event in done if (event.aggregate_id, event.version) in waiting]:
            await self._writer.unpark(unpark)
        if new := [event for event in park if (event.aggregate_id, event.version) not in waiting]:
            await self._writer.park(new)
        if versions := {key: admission.apply[-1].version for key, admission in admissions.items() if admission.apply}:
            await self._writer.set_versions(versions)

    async def _write(self, events: Sequence[Envelope]) -> None:
        about = [found[1] for event in events if (found := domain.entity_of(event))]
        held = await self._writer.held(about) if about else {}
        placed = domain.placed(events, held)
        scopes = sorted({logged.scope for logged in placed})
        rows, now = await self._writer.lock_scopes(scopes, domain.GENESIS)
        last = {scope: (row["seq"], row["hash"]) for scope, row in rows.items()}
        entries, salts, details = [], [], []
        for logged in placed:
            scope, salt, detail = logged.scope, secrets.token_bytes(SALT_BYTES), domain.personal(logged)
            entry = domain.append(scope, *last[scope], logged.event, now, domain.commitment(salt, detail))
            last[scope] = (entry.seq, entry.hash)
            entries.append(entry)
            salts.append(salt)
            details.append(detail)
        items = domain.heads((logged, entry.seq) for logged, entry in zip(placed, entries, strict=True))
        tallies = {scope: Tally(row["items"], row["checksum"]) for scope, row in rows.items()}
        for key, item in items.items():
            tallies[key.scope] = domain.recount(tallies[key.scope], held.get(key), item)
        await self._writer.append(entries, salts, details, tallies)
        if items:
            await self._writer.keep_items(list(items.values()))
        if conflicts := [event for event in events if event.data.get("conflict_of")]:
            await self._writer.keep_conflicts(conflicts)
        self._told({scope: entry.seq for scope, entry in zip((one.scope for one in placed), entries, strict=True)})


class GapService:
    """Fetches what is missing before parked events."""

    def __init__(
        self,
        fetch: Callable[[str, UUID, int, int], Awaitable[list[Envelope]]],
        apply: Callable[[Sequence[Envelope]], Awaitable[None]],
        skip: Callable[[UUID, str, int], Awaitable[None]],
    ) -> None:
        self._fetch = fetch
        self._apply = apply
        self._skip = skip

    async def close(self, gap: Row) -> None:
        """One step towards closing it: apply what the producer has from there, or skip, loudly, to what it still has.

        Raises `PeerUnavailableError`, or what applying an event raised: then it is tried again later.
        """
        first, last = gap["last"] + 1, gap["first_waiting"] - 1
        events = await self._fetch(gap["producer"], gap["id"], first, last)
        if not events or events[0].version > first:
            await self._skip(gap["id"], gap["producer"], events[0].version - 1 if events else last)
            return
        try:
            await self._apply(events)
        except UnreadableEventError:
            await self._apply_alone(gap, events)

    async def _apply_alone(self, gap: Row, events: Sequence[Envelope]) -> None:
        """One by one; an event that belongs nowhere can be logged nowhere, and must not keep the others out."""
        for event in events:
            try:
                await self._apply([event])
            except UnreadableEventError:
                await self._skip(gap["id"], gap["producer"], event.version)
