"""Budgets kept: nothing begins that could exceed one, and whatever ends, however it ends, is counted once."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from typing import Any, Final, NoReturn
from uuid import UUID

from common.database import Database, DatabaseUnavailableError, Row
from common.errors import ServiceError
from common.identifiers import uuid7

from ..domain.ledger import Amount
from ..domain.prices import PriceTable, Usage
from ..errors import (
    ActionForbiddenError,
    AiOffError,
    BudgetExceededError,
    DocumentNotFoundError,
    ModelNotAllowedError,
    ModelsUnknownError,
    TokensPerMinuteError,
    TooManyCallsError,
    WorkspaceNotFoundError,
    WorkspaceRequiredError,
)
from ..repository import LedgerRepository, WorkerRepository
from .places import Caller, Place, Places

log = logging.getLogger(__name__)

BEATS_A_LEASE: Final = 10
LOOKED_AT_ONCE: Final = 16
"""Calls whose streams are read before anything else of this process has its turn."""
SETTLED_AT_ONCE: Final = 64
RETRY_SECONDS: Final = 3600
REMEMBERED_USERS: Final = 10_000
REMEMBERED_SECONDS: Final = 30.0

_REFUSALS: Final[Mapping[str, type[ServiceError]]] = {
    "document_not_found": DocumentNotFoundError,
    "workspace_not_found": WorkspaceNotFoundError,
    "action_forbidden": ActionForbiddenError,
    "workspace_required": WorkspaceRequiredError,
    "model_not_allowed": ModelNotAllowedError,
    "workspace_unknown": ModelsUnknownError,
}
_MAY_BE_NEWER: Final = (
    "document_not_found", "workspace_not_found", "action_forbidden", "workspace_required", "workspace_unknown"
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Caps:
    """What holds for everybody.

    `ceilings`: for user, member, workspace, document in turn, tokens and micro-dollars of a day, then of a month.
    """

    ceilings: Sequence[int | None]
    calls_per_user: int
    calls_per_workspace: int
    tokens_per_minute: int
    personal_calls: bool
    lease_seconds: float


@dataclass(frozen=True, slots=True)
class Wanted:
    """A call that is to begin: `worst` it may cost, with `models` it may use, the first one first."""

    provider: str
    models: Sequence[str]
    operation: str
    streamed: bool
    worst: Amount
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Reserved:
    """A call that may begin, counted on `day`. The own key to use, if there is one, is ciphertext still."""

    id: UUID
    user_id: UUID
    workspace_id: UUID | None
    document_id: UUID | None
    day: date
    operation: str
    own_key: bool = False
    wrapped_key: bytes | None = None
    ciphertext: bytes | None = None
    key_owner: str | None = None


@dataclass(frozen=True, slots=True)
class Ending:
    """How a call ended and what it used; `estimated`: the provider did not say."""

    provider: str
    model: str
    usage: Usage
    outcome: str
    estimated: bool
    status: int | None = None
    first_byte_ms: int | None = None
    total_ms: int = 0


class Meter:
    """This process's calls; its lease keeps others from thinking it dead."""

    def __init__(self, database: Database, worker: Database, places: Places, prices: PriceTable, caps: Caps) -> None:
        self._database = database
        self._worker = worker
        self._places = places
        self._prices = prices
        self._caps = caps
        self._ceilings = "{" + ",".join("NULL" if one is None else str(one) for one in caps.ceilings) + "}"
        self._process = uuid7()
        self._running: dict[UUID, Callable[[], int]] = {}
        self._beat_at: float | None = None
        self._steady_since = 0.0
        """Since when this process has beaten without a gap that is longer than a lease."""
        self._due: dict[UUID, tuple[Reserved, Ending]] = {}
        self._settling = asyncio.Lock()
        self._unsettled: dict[UUID, tuple[Reserved, Ending]] = {}
        self._personal: dict[UUID, float] = {}
        """Users known to have no only workspace, which calls without a place would be for, and until when."""

    async def reserve(self, caller: Caller, place: Place, wanted: Wanted) -> Reserved:
        """Let a call begin.

        Raises `BudgetExceededError`, `TooManyCallsError`, `TokensPerMinuteError`, `AiOffError`,
        `ModelNotAllowedError`, and what is wrong with the place.
        """
        await self._places.refresh(caller.user_id)
        alone = self._personal.get(caller.user_id, 0.0) > time.monotonic()
        row = await self._ask(caller, place, wanted, personal=alone)
        if row["verdict"] in _MAY_BE_NEWER:
            place = await self._places.learn(caller.user_id, place)
            row = await self._ask(caller, place, wanted, personal=self._caps.personal_calls)
            if row["verdict"] == "ok" and row["in_workspace"] is None:
                self._remember(caller.user_id)
        if row["verdict"] != "ok":
            _refuse(row)
        reserved = Reserved(
            row["id"],
            caller.user_id,
            row["in_workspace"],
            place.document_id,
            row["counted_on"],
            wanted.operation,
            row["key_ciphertext"] is not None,
            row["key_wrapped"],
            row["key_ciphertext"],
            row["key_owner"],
        )
        self._running[reserved.id] = _nothing
        return reserved

    def _remember(self, user_id: UUID) -> None:
        if len(self._personal) > REMEMBERED_USERS:
            self._personal.clear()
        self._personal[user_id] = time.monotonic() + REMEMBERED_SECONDS

    async def _ask(self, caller: Caller, place: Place, wanted: Wanted, *, personal: bool) -> Row:
        id_ = uuid7()
        call = {
            "id": id_, "process": self._process, "workspace": place.workspace_id, "document": place.document_id,
            "root": place.root_id, "personal": personal, "provider": wanted.provider,
            "models": list(wanted.models), "operation": wanted.operation, "streamed": wanted.streamed,
            "tokens": wanted.worst.tokens, "micro_usd": wanted.worst.micro_usd, "input_tokens": wanted.input_tokens,
            "output_tokens": wanted.output_tokens, "ceilings": self._ceilings,
            "user_calls": self._caps.calls_per_user, "workspace_calls": self._caps.calls_per_workspace,
            "tokens_per_minute": self._caps.tokens_per_minute,
        }  # fmt: skip
        async with self._database.transaction(caller.user_id) as transaction:
            return {**await LedgerRepository(transaction).reserve(call), "id": id_}

    def watch(self, reserved: Reserved, written: Callable[[], int]) -> None:
        """Note with every beat how many tokens the answer has by now, for the case that this process dies."""
        self._running[reserved.id] = written

    def lose(self, reserved: Reserved) -> None:
        """Nobody can tell what it used: it is counted as a dead process's calls are."""
        self._running.pop(reserved.id, None)

    async def settle(self, reserved: Reserved, ending: Ending) -> None:
        """Count a call; if that cannot be done now, it is as soon as it can.

        Those that end while others are being counted are counted together, in the next transaction.
        """
        self._due[reserved.id] = reserved, ending
        async with self._settling:
            if reserved.id in self._due:
                due = list(self._due.values())[:SETTLED_AT_ONCE]
                for call, _ in due:
                    del self._due[call.id]
                await self._settle(due)

    async def _settle(self, due: Sequence[tuple[Reserved, Ending]]) -> None:
        try:
            counted = await self._count(self._database, LedgerRepository, due)
        except BaseException as error:
            self._put_off([*due, *self._due.values()])  # nobody waits for another attempt
            self._due.clear()
            if not isinstance(error, DatabaseUnavailableError):
                raise
            return
        for call, _ in due:
            if call.id in counted:
                self._running.pop(call.id, None)
        self._put_off([one for one in due if one[0].id not in counted])

    def _put_off(self, calls: Iterable[tuple[Reserved, Ending]]) -> None:
        """Count them with a later beat."""
        for call, ending in calls:
            self._unsettled[call.id] = call, ending
            self._running[call.id] = lambda written=ending.usage.output: written  # type: ignore[misc]

    async def _count(
        self,
        database: Database,
        repository: type[LedgerRepository | WorkerRepository],
        calls: Sequence[tuple[Reserved, Ending]],
    ) -> Sequence[UUID]:
        """Those that are counted, now or before; what hinders one hinders no other.

        Raises `DatabaseUnavailableError`.
        """
        try:
            async with database.transaction() as transaction:
                await repository(transaction).settle([self._columns(*call) for call in calls])
        except DatabaseUnavailableError:
            raise
        except Exception as error:  # noqa: BLE001 - it is tried again, whatever it was
            if len(calls) > 1:
                return [id_ for call in calls for id_ in await self._count(database, repository, [call])]
            log.warning("a call is not counted yet", extra={"fields": {"cause": type(error).__name__}})
            return ()
        return [call.id for call, _ in calls]

    def _columns(self, call: Reserved, ending: Ending) -> dict[str, Any]:
        usage = ending.usage
        return {
            "id": call.id, "user": call.user_id, "workspace": call.workspace_id, "document": call.document_id,
            "day": call.day, "operation": call.operation, "own_key": call.own_key,
            "provider": ending.provider, "model": ending.model, "input_tokens": usage.all_input,
            "cached_tokens": usage.cached, "output_tokens": usage.output,
            "micro_usd": self._prices.of(ending.model).cost(usage), "outcome": ending.outcome,
            "estimated": ending.estimated, "status": ending.status, "first_byte_ms": ending.first_byte_ms,
            "total_ms": ending.total_ms,
        }  # fmt: skip

    async def run(self) -> None:
        """Beat, settle what could not be, and reap what dead processes left, until cancelled."""
        while True:
            for work in (self.beat, self.settle_late, self.reap):
                try:
                    await work()
                except DatabaseUnavailableError as error:
                    log.info("no beat", extra={"fields": {"cause": str(error)}})
                except Exception:
                    log.exception("no beat")
            await asyncio.sleep(self._caps.lease_seconds / BEATS_A_LEASE)

    async def beat(self) -> None:
        """Say that this process lives, and how far its calls are. Raises `DatabaseUnavailableError`."""
        written = await self._look()
        async with self._worker.transaction() as transaction:
            await WorkerRepository(transaction).beat(self._process, self._caps.lease_seconds, written)
        now = time.monotonic()
        if self._beat_at is None or now - self._beat_at > self._caps.lease_seconds:
            self._steady_since = now
        self._beat_at = now

    async def settle_late(self) -> None:
        """Count what could not be counted when it ended. Raises `DatabaseUnavailableError` if that cannot be done now.

        One that is held up, by a lock of somebody's, is tried again after the others.
        """
        for id_, one in list(self._unsettled.items()):
            try:
                counted = await self._count(self._worker, WorkerRepository, [one])
            except DatabaseUnavailableError:
                self._unsettled[id_] = self._unsettled.pop(id_)
                raise
            if counted:
                del self._unsettled[id_]
                self._running.pop(id_, None)

    async def _look(self) -> list[tuple[UUID, int]]:
        """How many tokens each answer has; of a call that cannot be read, what was known before."""
        found = []
        for turn, (id_, written) in enumerate(list(self._running.items()), start=1):
            with suppress(Exception):  # as it ends, that comes to light
                if tokens := written():
                    found.append((id_, tokens))
            if turn % LOOKED_AT_ONCE == 0:
                await asyncio.sleep(0)
        return found

    async def reap(self) -> int:
        """Count the calls of dead processes, and those nobody here knows; how many. Raises `DatabaseUnavailableError`.

        After an outage of the database every lease has run out: nobody is thought dead until all have had time to beat.
        """
        if self._beat_at is None or time.monotonic() - self._steady_since < self._caps.lease_seconds:
            return 0
        async with self._worker.transaction() as transaction:
            abandoned = await WorkerRepository(transaction).abandoned(
                self._process, list(self._running), self._caps.lease_seconds
            )
        counted = 0
        for call in abandoned:
            counted += len(await self._count(self._worker, WorkerRepository, [(_reserved(call), _crashed(call))]))
        if counted:
            log.warning("calls nobody carries on were counted", extra={"fields": {"calls": counted}})
        return counted


def _nothing() -> int:
    return 0


def _reserved(call: Row) -> Reserved:
    places = call["workspace_id"], call["document_id"]
    return Reserved(call["id"], call["user_id"], *places, call["day"], call["operation"], call["own_key"])


def _crashed(call: Row) -> Ending:
    """What the answer had by the last beat is counted."""
    usage = Usage(input=call["input_tokens"], output=min(call["seen_tokens"], call["output_tokens"]))
    return Ending(
        call["provider"], call["model"], usage, "crashed", estimated=True, total_ms=int(call["seconds"] * 1000)
    )


def _refuse(row: Row) -> NoReturn:
    about, wait = row["about"], row["retry_after"] or 1
    match row["verdict"]:
        case "ai_off":
            raise AiOffError(f"AI is switched off for this {about}")
        case "budget_exceeded":
            raise BudgetExceededError(
                f"The {about}'s {row['about_unit']} for this {row['about_period']} would not suffice for this call",
                retry_after=RETRY_SECONDS, scope=about, period=row["about_period"], unit=row["about_unit"],
            )  # fmt: skip
        case "too_many_calls":
            raise TooManyCallsError(f"The {about} has as many calls under way as allowed", retry_after=wait)
        case "tokens_per_minute":
            raise TokensPerMinuteError(retry_after=wait)
        case verdict:
            raise _REFUSALS[verdict]
