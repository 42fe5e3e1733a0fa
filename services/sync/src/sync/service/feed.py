"""What a device is told: bootstrap, pull, verify, status."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

from common.access import AccessProjection
from common.auth import Principal
from common.client import InternalClient, PeerNotFoundError, PeerUnavailableError
from common.database import Row
from common.identifiers import uuid7

from .. import domain
from ..domain import Cursor, Head, Plan, Position, Scope, Tally
from ..errors import CursorNotYoursError, ResyncRequiredError, ScopeNotFoundError
from ..repository import DeviceRepository, FeedRepository
from .devices import check_device

SCOPES_AT_ONCE = 64
"""Scopes read by one statement."""
LOOK_SECONDS = 0.02
BODIES = "/internal/documents/bodies"
EVERYTHING_DIFFERS = 20_000
"""Entities in the answer to a verification."""

Texts = dict[tuple[UUID, int], str]


@dataclass
class Told:
    """One answer to a device: rows in the order to apply, texts that come along, the cursor behind them."""

    rows: list[Row]
    plan: Plan
    complete: bool
    texts: Texts
    cursor: str
    checksums: dict[Scope, Tally]
    roles: dict[Scope, str]
    """The caller's, in each scope."""
    mine: frozenset[str]
    """The caller and their groups, as principals of grants."""

    @property
    def places(self) -> dict[UUID, Scope]:
        """Where entities among the rows lie now."""
        return {row["id"]: Scope(row["scope_kind"], row["scope_id"]) for row in self.rows if not row["gone"]}


class FeedService:
    """Changes on behalf of one device."""

    def __init__(
        self,
        feed: FeedRepository,
        devices: DeviceRepository,
        access: AccessProjection,
        client: InternalClient,
        principal: Principal,
        user_token: str,
        placements: Mapping[UUID, int],
        cursor_keys: Sequence[bytes],
    ) -> None:
        self._feed = feed
        self._devices = devices
        self._access = access
        self._client = client
        self._principal = principal
        self._user_token = user_token
        self._placements = placements
        self._keys = cursor_keys

    async def begin(self, device_id: UUID, limit: int, max_bytes: int) -> Told:
        """First page of everything. Raises `DeviceNotFoundError` and what `check_device` raises."""
        with suppress(PeerUnavailableError):  # whoever joined a moment ago need not wait for the event
            await self._access.learn(self._principal.user_id)
        device = check_device(await self._devices.state(device_id, None), self._principal)
        generation = await self._devices.last_generation(device_id) + 1
        start = Cursor(self._principal.user_id, device_id, device["epoch"], UUID(int=0), generation)
        return await self._tell(start, {}, limit, max_bytes, used=None)

    async def go_on(self, token: str, limit: int, max_bytes: int) -> Told:
        """The page behind a cursor.

        Raises `CursorInvalidError`, `CursorNotYoursError`, `ResyncRequiredError` and what `check_device` raises.
        """
        cursor, state = await self._opened(token)
        return await self._tell(cursor, domain.unpack(state["positions"]), limit, max_bytes, used=state)

    async def is_behind(self, token: str) -> bool:
        """Whether a pull would tell anything. Raises what `go_on` raises."""
        _, state = await self._opened(token)
        heads = await self._feed.heads()
        plan = domain.plan(domain.unpack(state["positions"]), heads)
        if plan.added or plan.removed or plan.roles:
            return True
        rows, _, _ = await self._page(plan, heads, 1, 1)
        await self._feed.release()  # who asks goes on to wait
        return bool(rows)

    async def wait_for(self, versions: Mapping[UUID, int], seconds: float) -> bool:
        """Wait until these versions of entities are logged, for some time; whether they are."""
        deadline = time.monotonic() + seconds
        while True:
            known = await self._feed.versions(list(versions))
            await self._feed.release()
            if all(known.get(id_, 0) >= version for id_, version in versions.items()):
                return True
            if time.monotonic() >= deadline:
                return False
            await asyncio.sleep(LOOK_SECONDS)

    async def verify(self, scope: Scope, theirs: Sequence[Tally] | None) -> tuple[int, list[Tally], list[int], Told]:
        """A scope's number, its buckets' tallies, the buckets that differ, and what those hold.

        Raises `ScopeNotFoundError`.
        """
        heads = await self._feed.heads()
        if scope not in heads:
            raise ScopeNotFoundError
        ours = [Tally()] * 256
        for row in await self._feed.buckets(scope):
            ours[row["bucket"]] = Tally(row["count"], int(row["sum"]) % domain.SUM_MODULUS)
        differ = [at for at in range(256) if theirs is not None and theirs[at] != ours[at]]
        rows = await self._feed.in_buckets(scope, differ, EVERYTHING_DIFFERS) if differ else []
        rows = [row for row in rows if domain.is_placed(row, self._placements)]
        mine = await self._mine(rows)
        await self._feed.release()
        plan = Plan({}, [], [], {}, [])
        roles = {found: head.role for found, head in heads.items()}
        told = Told(
            domain.in_order(rows), plan, complete=True, texts={}, cursor="", checksums={}, roles=roles, mine=mine
        )
        return heads[scope].seq, ours, differ, told

    async def _opened(self, token: str) -> tuple[Cursor, Row]:
        cursor = domain.read_cursor(token, self._keys)
        if cursor.user_id != self._principal.user_id:
            raise CursorNotYoursError
        state = await self._devices.state(cursor.device_id, cursor.nonce)
        if state is not None and state["removed_at"] is None and state["session_id"] != self._principal.session_id:
            raise CursorNotYoursError
        state = check_device(state, self._principal)
        if state["epoch"] != cursor.epoch:
            raise ResyncRequiredError(reason="epoch", mode="upload_differences")
        if state["positions"] is None:
            raise ResyncRequiredError(reason="gone", mode="apply_differences")
        return cursor, state

    async def _tell(
        self, cursor: Cursor, positions: Mapping[Scope, Position], limit: int, max_bytes: int, *, used: Row | None
    ) -> Told:
        heads = await self._feed.heads()
        plan = domain.plan(positions, heads)
        rows, after, complete = await self._page(plan, heads, limit, max_bytes)
        mine = await self._mine(rows)
        await self._feed.release()
        texts = await self._texts(rows)
        now = await self._feed.heads() if rows else heads  # rights may have ended meanwhile
        rows = [row for row in rows if Scope(row["scope_kind"], row["scope_id"]) in now]
        checksums: dict[Scope, Tally] = {}
        if complete:
            checksums, after = domain.at_rest(after, now)
        token = await self._keep(cursor, positions, after, used)
        roles = {scope: head.role for scope, head in heads.items()}
        return Told(
            domain.in_order(rows), plan, complete=complete, texts=texts, cursor=token, checksums=checksums,
            roles=roles, mine=mine,
        )  # fmt: skip

    async def _page(
        self, plan: Plan, heads: Mapping[Scope, Head], limit: int, max_bytes: int
    ) -> tuple[list[Row], dict[Scope, Position], bool]:
        """Read scopes, some at a time, until the page is full."""
        told: list[Row] = []
        positions = plan.positions
        behind = list(plan.behind)
        while behind:
            some, behind = behind[:SCOPES_AT_ONCE], behind[SCOPES_AT_ONCE:]
            room = limit - len(told)
            if not room or max_bytes <= 0:
                return await self._with_moved(told, heads), positions, False
            found = await self._feed.rows_after({scope: positions[scope].seq for scope in some}, room + 1)
            read = {scope: heads[scope] for scope in some}
            page = domain.turn(positions, read, found, limit=room, max_bytes=max_bytes, placements=self._placements)
            told += page.rows
            positions = page.positions
            max_bytes -= sum(map(domain.inline_bytes, page.rows))
            behind = [*page.left, *behind]
            if page.full:
                return await self._with_moved(told, heads), positions, False
        return await self._with_moved(told, heads), positions, True

    async def _with_moved(self, rows: list[Row], heads: Mapping[Scope, Head]) -> list[Row]:
        """The rows, and for what moved to where the caller may read too, its row there: both in one page."""
        moved = [row["id"] for row in rows if row["gone"] and row["reason"] == "moved"]
        if not moved:
            return rows
        present = {(row["scope_id"], row["id"]) for row in rows}
        new = [
            row
            for row in await self._feed.held(moved, heads)
            if (row["scope_id"], row["id"]) not in present and domain.is_placed(row, self._placements)
        ]
        return [*rows, *new]

    async def _mine(self, rows: Sequence[Row]) -> frozenset[str]:
        """The caller's own principals, if there are grants among the rows."""
        if not any(row["entity"] == "grant" for row in rows):
            return frozenset()
        return frozenset({f"user:{self._principal.user_id}", *(f"group:{id_}" for id_ in await self._feed.groups())})

    async def _texts(self, rows: Sequence[Row]) -> Texts:
        """Texts of small documents, as the caller may read them now; none if documents cannot be asked."""
        wanted = [
            (row["id"], int(row["data"]["content_version"]))
            for row in rows
            if row["entity"] == "document" and not row["gone"] and (row["size"] or 0) <= domain.INLINE_BYTES
        ]
        if not wanted:
            return {}
        try:
            answer = await self._client.post(
                "documents", BODIES, {"items": wanted}, acting_user=self._principal.user_id,
                user_token=self._user_token,
            )  # fmt: skip
        except (PeerUnavailableError, PeerNotFoundError):  # or is of an earlier release
            return {}
        bodies: dict[str, str] = answer["bodies"]
        found = {(id_, n): bodies.get(f"{id_}:{n}") for id_, n in wanted}
        return {key: text for key, text in found.items() if text is not None}

    async def _keep(
        self, cursor: Cursor, before: Mapping[Scope, Position], after: Mapping[Scope, Position], used: Row | None
    ) -> str:
        if used is not None and before == after:
            if used["stale"]:
                await self._devices.touch(cursor.device_id, cursor.nonce)
            return cursor.token(self._keys[0])
        new = cursor._replace(nonce=uuid7(), generation=cursor.generation + (used is not None))
        await self._devices.keep_cursor(new.device_id, new.nonce, new.generation, domain.pack(after))
        return new.token(self._keys[0])
