"""The verbs: append events to the log exactly once and in order, read it, prove that nobody changed it."""

import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from common import pagination
from common.access import AccessProjection, Action, allows
from common.auth import Principal
from common.database import Row
from common.messaging import Envelope, UnreadableEventError

from . import domain
from .domain import Admission, Checked, Scope
from .errors import EntryNotFoundError, RoleInsufficientError, RootNotFoundError, WorkspaceNotFoundError
from .repository import LogReader, LogWriter

log = logging.getLogger(__name__)

SALT_BYTES = 16
CHECKED_AT_ONCE = 2_000
CHECKED_PER_REQUEST = 100_000


class LogService:
    """Appends events in one transaction of a consumer."""

    def __init__(self, writer: LogWriter) -> None:
        self._writer = writer

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
        placed = [(scope, event) for event in events for scope in domain.scopes_of(event)]
        heads, now = await self._writer.lock_scopes(sorted({scope for scope, _ in placed}), domain.GENESIS)
        last = {scope: (row["seq"], row["hash"]) for scope, row in heads.items()}
        entries, salts, details = [], [], []
        for scope, event in placed:
            salt, detail = secrets.token_bytes(SALT_BYTES), domain.personal(event, scope)
            entry = domain.append(scope, *last[scope], event, now, domain.commitment(salt, detail))
            last[scope] = (entry.seq, entry.hash)
            entries.append(entry)
            salts.append(salt)
            details.append(detail)
        await self._writer.append(entries, salts, details)
        if items := domain.items(events):
            await self._writer.keep_items(items)


class AuditService:
    """The log as one caller may read it."""

    def __init__(
        self, reader: LogReader, access: AccessProjection, principal: Principal, placements: Mapping[UUID, int]
    ) -> None:
        self._reader = reader
        self._access = access
        self._principal = principal
        self._placements = placements

    async def list_page(
        self,
        workspace_id: UUID | None,
        root_id: UUID | None,
        filters: dict[str, Any],
        cursor: str | None,
        limit: int,
    ) -> tuple[list[Row], str | None]:
        """Entries of a workspace or a root in it (owners and admins), or of the caller's own scope; newest first.

        What a document or folder is called is told only to who may read it now. Raises `WorkspaceNotFoundError`,
        `RootNotFoundError`, `RoleInsufficientError`, `CursorInvalidError`.
        """
        scope = await self._scope(workspace_id, root_id)
        before = pagination.decode(cursor, int)[0] if cursor else None
        rows, next_cursor = pagination.page(await self._reader.page(scope, filters, before, limit), limit, "seq")
        return await self._without_names(rows), next_cursor

    async def _without_names(self, rows: Sequence[Row]) -> list[Row]:
        """The rows, without the names of what the caller may not read, or of what was moved or restricted just now."""
        ids = {row["aggregate_id"] for row in rows if domain.named(row["type"])}
        readable = await self._reader.readable(list(ids)) if ids else {}
        announced = self._placements
        hidden = {id_ for id_ in ids if readable.get(id_, 0) < announced.get(id_, 1)}
        return [domain.nameless(row) if row["aggregate_id"] in hidden else row for row in rows]

    async def verify(self, workspace_id: UUID | None, root_id: UUID | None, after: int) -> tuple[Checked, bool]:
        """Recompute the hash chain behind entry `after`; how far it holds, and whether that is its end.

        The end must be the scope's head, which is kept apart: an end that was cut off is missed. Raises
        `EntryNotFoundError` if there is no entry `after`.
        """
        scope = await self._scope(workspace_id, root_id)
        head = await self._reader.head(scope)
        start = await self._reader.hash_at(scope, after) if after else domain.GENESIS
        if start is None:
            raise EntryNotFoundError
        checked = Checked(after, start, 0, None)
        while checked.broken_at is None and checked.seq - after < CHECKED_PER_REQUEST:
            rows = await self._reader.chain_from(scope, checked.seq, CHECKED_AT_ONCE)
            await self._reader.release()
            checked = domain.check(scope, checked, rows)
            if len(rows) < CHECKED_AT_ONCE and checked.broken_at is None:
                await self._scope(workspace_id, root_id)  # a role lost meanwhile hides entries, too
                return await self._against(head, scope, checked), True
        return checked, checked.broken_at is not None

    async def _against(self, head: Row | None, scope: Scope, checked: Checked) -> Checked:
        """The head was read before the entries: there are at least as many of them, and one has its hash."""
        if head and checked.seq < head["seq"]:
            return checked._replace(broken_at=checked.seq + 1)
        if head and head["seq"] and await self._reader.hash_at(scope, head["seq"]) != head["hash"]:
            return checked._replace(broken_at=head["seq"])
        return checked

    async def _scope(self, workspace_id: UUID | None, root_id: UUID | None) -> Scope:
        if workspace_id is None:
            return Scope("user", self._principal.user_id)
        role = await self._reader.role_in(workspace_id)
        if role is None:
            await self._reader.release()
            if await self._access.learn(self._principal.user_id):
                role = await self._reader.role_in(workspace_id)
            if role is None:
                raise WorkspaceNotFoundError
        if not allows(role, Action.MANAGE):
            raise RoleInsufficientError
        if root_id and root_id != workspace_id and not await self._reader.is_root_in(workspace_id, root_id):
            raise RootNotFoundError
        return Scope("root", root_id or workspace_id)


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
