"""What a device is told: bootstrap, pull, verify, status."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple
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
MOST_COMPARED = 10_000
"""Entities in the answer to a verification, if one bucket does not hold more."""

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
    parents: frozenset[UUID]
    """Living folders the caller may read, of those that things with rules of their own lie in."""

    @property
    def places(self) -> dict[UUID, Scope]:
        """Where entities among the rows lie now."""
        return {row["id"]: Scope(row["scope_kind"], row["scope_id"]) for row in self.rows if not row["gone"]}


class Compared(NamedTuple):
    """A scope beside a device's copy of it."""

    seq: int
    ours: list[Tally]
    differ: list[int]
    """Buckets that differ, and what they hold is told whole."""
    more: list[int]
    """Those that differ as well, for another question."""
    told: Told


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

    def device_of(self, token: str) -> UUID:
        """Which of the caller's devices a cursor is for. Raises `CursorInvalidError`, `CursorNotYoursError`."""
        return self._read(token).device_id

    async def go_on(self, token: str, limit: int, max_bytes: int, *, device_id: UUID | None = None) -> Told:
        """The page behind a cursor, of that device if one is named.

        Raises `CursorInvalidError`, `CursorNotYoursError`, `ResyncRequiredError` and what `check_device` raises.
        """
        if device_id not in (None, self.device_of(token)):
            raise CursorNotYoursError
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

    async def verify(self, scope: Scope, theirs: Sequence[Tally] | None) -> Compared:
        """A scope's buckets and what those that differ hold, as far as one answer goes. Raises `ScopeNotFoundError`."""
        heads = await self._feed.heads()
        if scope not in heads:
            raise ScopeNotFoundError
        ours = [Tally()] * 256
        for row in await self._feed.buckets(scope):
            ours[row["bucket"]] = Tally(row["count"], int(row["sum"]) % domain.SUM_MODULUS)
        differ = [at for at in range(256) if theirs is not None and theirs[at] != ours[at]]
        answered = _as_many_as_fit(differ, ours)
        rows = await self._feed.in_buckets(scope, answered) if answered else []
        rows = [row for row in rows if domain.is_placed(row, self._placements)]
        mine, parents = await self._mine(rows), await self._parents(rows, heads)
        await self._feed.release()
        plan = Plan({}, [], [], {}, [])
        roles = {found: head.role for found, head in heads.items()}
        told = Told(
            domain.in_order(rows), plan, complete=True, texts={}, cursor="", checksums={}, roles=roles, mine=mine,
            parents=parents,
        )  # fmt: skip
        return Compared(heads[scope].seq, ours, answered, differ[len(answered) :], told)

    def _read(self, token: str) -> Cursor:
        cursor = domain.read_cursor(token, self._keys)
        if cursor.user_id != self._principal.user_id:
            raise CursorNotYoursError
        return cursor

    async def _opened(self, token: str) -> tuple[Cursor, Row]:
        cursor = self._read(token)
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
        mine, parents = await self._mine(rows), await self._parents(rows, heads)
        await self._feed.release()
        texts = await self._texts(rows, max_bytes)
        now = await self._feed.heads() if rows else heads  # rights may have ended meanwhile
        rows = [row for row in rows if Scope(row["scope_kind"], row["scope_id"]) in now]
        checksums: dict[Scope, Tally] = {}
        if complete:
            checksums, after = domain.at_rest(after, now)
        token = await self._keep(cursor, positions, after, used)
        roles = {scope: head.role for scope, head in heads.items()}
        return Told(
            domain.in_order(rows), plan, complete=complete, texts=texts, cursor=token, checksums=checksums,
            roles=roles, mine=mine, parents=parents,
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
                return await self._with_others(told, plan, heads), positions, False
            found = await self._feed.rows_after({scope: positions[scope].seq for scope in some}, room + 1)
            read = {scope: heads[scope] for scope in some}
            page = domain.turn(positions, read, found, limit=room, max_bytes=max_bytes, placements=self._placements)
            told += page.rows
            positions = page.positions
            max_bytes -= sum(map(domain.inline_bytes, page.rows))
            behind = [*page.left, *behind]
            if page.full:
                return await self._with_others(told, plan, heads), positions, False
        return await self._with_others(told, plan, heads), positions, True

    async def _with_others(self, rows: list[Row], plan: Plan, heads: Mapping[Scope, Head]) -> list[Row]:
        """The rows, and those that did not change but look different now, all in one page.

        What moved to where the caller may read too, there; the grants of roots where their role is another one; what
        has rules of its own in folders that are told, and so may be new to them.
        """
        moved = {row["id"] for row in rows if row["gone"] and row["reason"] == "moved"}
        ruled = {scope.id for scope in plan.roles if scope.kind == "root" and scope not in plan.added}
        folders = [row["id"] for row in rows if row["entity"] == "folder" and not row["gone"]]
        others = await self._feed.held([*moved, *ruled], heads) if moved or ruled else []
        others = [row for row in others if row["id"] in moved or row["entity"] == "grant"]
        others += await self._feed.with_own_rules_in(folders, heads) if folders else []
        present = {(row["scope_id"], row["entity"], row["id"]) for row in rows}
        new = {(row["scope_id"], row["entity"], row["id"]): row for row in others}
        placed = [row for key, row in new.items() if key not in present and domain.is_placed(row, self._placements)]
        return [*rows, *placed]

    async def _parents(self, rows: Sequence[Row], heads: Mapping[Scope, Head]) -> frozenset[UUID]:
        """Of the folders that things with rules of their own lie in, those that live and the caller may read."""
        asked = {row["parent_id"] for row in rows if row["scope_id"] == row["id"] and row["parent_id"]}
        found = await self._feed.held(list(asked), heads) if asked else []
        return frozenset(row["id"] for row in found if row["entity"] == "folder")

    async def _mine(self, rows: Sequence[Row]) -> frozenset[str]:
        """The caller's own principals, if there are grants among the rows."""
        if not any(row["entity"] == "grant" for row in rows):
            return frozenset()
        return frozenset({f"user:{self._principal.user_id}", *(f"group:{id_}" for id_ in await self._feed.groups())})

    async def _texts(self, rows: Sequence[Row], max_bytes: int) -> Texts:
        """Texts of small documents, as the caller may read them now; none if documents cannot be asked.

        What does not fit into `max_bytes`, the first apart, does not come along.
        """
        wanted: list[tuple[UUID, int]] = []
        for row in rows:
            if row["entity"] != "document" or row["gone"] or (row["size"] or 0) > domain.INLINE_BYTES:
                continue
            max_bytes -= domain.inline_bytes(row)
            if wanted and max_bytes < 0:
                break
            wanted.append((row["id"], int(row["data"]["content_version"])))
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


def _as_many_as_fit(differ: Sequence[int], ours: Sequence[Tally]) -> list[int]:
    """Whole buckets from the first on: half of one would look as if the rest were gone."""
    held = accumulate(ours[bucket].held for bucket in differ)
    return [
        bucket for at, (bucket, sum_) in enumerate(zip(differ, held, strict=True)) if not at or sum_ <= MOST_COMPARED
    ]
