"""Operations of devices: each once, whatever is lost on the way; what cannot be done is kept and said by name."""

import asyncio
import contextlib
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import orjson
import zstandard
from pydantic import ValidationError

from common.auth import Principal
from common.database import Row, Transaction
from common.errors import ServiceError

from ..errors import ContentHashMismatchError, OperationInternalError, OperationKnownError, OperationReusedError
from ..repository import (
    DocumentRepository,
    OperationRepository,
    RootRepository,
    TreeRepository,
    WaveRepository,
    claim_of,
)
from ..schemas.operations import OPERATION, CreateDocument, Operation, Resolve, SentOperation, UpdateDocument
from .access import AccessService
from .documents import DocumentService
from .folders import FolderService
from .placing import Placer

log = logging.getLogger(__name__)

AT_ONCE = 100
"""Plain operations on different documents in one transaction."""
PARALLEL = 6
"""Those of them that need a closer look, at a time."""
INLINE_BYTES = 64 * 1024
UNDONE = ("rejected", "blocked")
"""After these, operations of the same batch that build on the same entity are blocked; after a conflict, its texts."""
OTHERS = ("content", "overwritten")
"""What others wrote is told once, not kept: whoever asks again may not read there any more."""

Result = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Bench:
    """Everything one transaction of an operation works with."""

    transaction: Transaction
    documents: DocumentService
    folders: FolderService
    repository: DocumentRepository
    waves: WaveRepository
    operations: OperationRepository
    tree: TreeRepository
    roots: RootRepository
    placer: Placer
    rules: Mapping[str, AccessService]
    """Access rules of documents and of folders."""


@dataclass(frozen=True, slots=True)
class Task:
    """An operation on its way: as it was sent, as it was understood, what its author's batch said before it."""

    sent: SentOperation
    digest: bytes
    device_id: UUID | None
    said: Mapping[tuple[UUID, str], tuple[int, bytes]]
    """Numbers and texts of the batch's operations, by document and hash."""

    @property
    def claim(self) -> dict[str, Any]:
        """Parameters of its row."""
        return claim_of(self.sent.op_id, self.device_id, self.sent.n, self.digest)

    @property
    def entity_id(self) -> UUID | None:
        """What it is about, if that can be read."""
        return _uuid((self.sent.model_extra or {}).get("id"))

    def said_before(self, document_id: UUID, content_hash: str) -> bytes | None:
        """The text of an earlier operation of the batch."""
        n, text = self.said.get((document_id, content_hash), (self.sent.n, b""))
        return text if n < self.sent.n else None

    @property
    def text(self) -> bytes | None:
        """Its text, if it has one that can be stored."""
        content = (self.sent.model_extra or {}).get("content")
        try:
            return content.encode() if isinstance(content, str) else None
        except UnicodeEncodeError:
            return None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an operation; `keep_text`: what was sent is not stored as it is anywhere else."""

    status: str
    fields: Result = field(default_factory=dict)
    keep_text: bool = False


class KnownError(Exception):
    """It was done before, or a duplicate was faster."""


Verb = Callable[[Any, Task], Awaitable[Outcome]]
Plain = CreateDocument | UpdateDocument
Together = Callable[[Sequence[tuple[Plain, Task]]], Awaitable[dict[UUID, Outcome]]]
Opener = Callable[[Principal], AbstractAsyncContextManager[Bench]]


class OperationService:
    """A batch of one device's operations."""

    def __init__(
        self, open_bench: Opener, principal: Principal, verbs: Mapping[type[Operation], Verb], together: Together
    ) -> None:
        self._open = open_bench
        self._principal = principal
        self._verbs = verbs
        self._together = together

    async def carry_out(
        self, device_id: UUID | None, known_up_to: int, sent: Sequence[SentOperation], seconds: float
    ) -> list[Result] | None:
        """A result for each, in order; None, and nothing done, if one should be known and is not.

        After one that could not be carried out for now all are `retry`, whatever became of them: it is said when they
        come again.
        """
        deadline = time.monotonic() + seconds
        async with self._open(self._principal) as bench:
            known = await bench.operations.known([one.op_id for one in sent])
        if any(one.op_id not in known for one in sent if one.n <= known_up_to):
            return None
        batch = _Batch(self, device_id, known)
        return await batch.run(sent, deadline)

    async def carry_out_at_once(self, tasks: Sequence[Task]) -> dict[UUID, Result]:
        """Results of plain operations that do not touch each other; those that need a closer look are left out."""
        pairs: list[tuple[Plain, Task]] = []
        for task in tasks:
            with contextlib.suppress(ValidationError, ServiceError):
                operation = _understood(task)
                pairs += [(operation, task)] if isinstance(operation, Plain) else []
        outcomes = await self._together(pairs)
        return {
            task.sent.op_id: _result(task, outcomes[task.sent.op_id].status, outcomes[task.sent.op_id].fields)
            for _, task in pairs
            if task.sent.op_id in outcomes
        }

    async def carry_out_one(self, task: Task) -> Result:
        """Its result; `retry` if something it needs is away."""
        try:
            operation = _understood(task)
        except ValidationError as error:
            return await self._refuse(task, "rejected", "invalid", _first(error))
        except (ContentHashMismatchError, OperationInternalError) as error:
            return await self._refuse(task, "rejected", error.code, error.detail)
        try:
            outcome = await self._verbs[type(operation)](operation, task)
        except (KnownError, OperationKnownError):
            return await self._known_result(task)
        except ServiceError as error:
            if error.status_code >= 500:  # noqa: PLR2004
                log.info("operation put off", extra={"fields": {"cause": error.code}})
                return _result(task, "retry", {"code": error.code})
            return await self._refuse(task, "rejected", error.code, error.detail)
        return _result(task, outcome.status, outcome.fields)

    async def block(self, task: Task) -> Result:
        """An earlier operation it builds on did not get through."""
        return await self._refuse(task, "blocked", "blocked", "an earlier operation it builds on did not get through")

    async def _refuse(self, task: Task, status: str, code: str, detail: str) -> Result:
        fields = {"code": code, "detail": "".join(one if one.isprintable() else "\ufffd" for one in detail[:500])}
        if task.device_id is None:  # of the server's own making: whoever may not today may tomorrow
            return _result(task, status, fields)
        try:
            async with self._open(acting(self._principal, task)) as bench:
                await finish(bench, task, Outcome(status, fields, keep_text=True))
        except (KnownError, OperationKnownError):
            return await self._known_result(task)
        except ServiceError as error:
            return _result(task, "retry", {"code": error.code})
        return _result(task, status, fields)

    async def _known_result(self, task: Task) -> Result:
        async with self._open(self._principal) as bench:
            known = await bench.operations.known([task.sent.op_id])
        row = known.get(task.sent.op_id)
        return repeated(task, row) if row else _result(task, "retry", {"code": OperationKnownError.code})


class _Batch:
    """The operations of one call: in order where one builds on another, else some at a time."""

    def __init__(self, service: OperationService, device_id: UUID | None, known: Mapping[UUID, Row]) -> None:
        self._service = service
        self._device_id = device_id
        self._known = known
        self._said: dict[tuple[UUID, str], tuple[int, bytes]] = {}
        self._undone: set[UUID] = set()
        self._copied: set[UUID] = set()

    async def run(self, sent: Sequence[SentOperation], deadline: float) -> list[Result]:
        tasks = [self._task(one) for one in sent]
        results: list[Result] = []
        while len(results) < len(tasks):
            if time.monotonic() >= deadline:
                break
            wave = self._wave(tasks[len(results) :])
            done = await self._all(wave, deadline)
            results += done
            for task, result in zip(wave, done, strict=True):
                if task.entity_id and result["status"] in UNDONE:
                    self._undone.add(task.entity_id)
                elif task.entity_id and result["status"] == "conflict":
                    self._copied.add(task.entity_id)
            if any(result["status"] == "retry" for result in done):
                break
        held = next((at for at, result in enumerate(results) if result["status"] == "retry"), len(results))
        return [*results[:held], *(_result(task, "retry", {"code": "not_reached"}) for task in tasks[held:])]

    def _task(self, sent: SentOperation) -> Task:
        digest = hashlib.sha256(
            orjson.dumps({**sent.as_sent(), "n": None}, option=orjson.OPT_SORT_KEYS, default=str)
        ).digest()
        task = Task(sent, digest, self._device_id, self._said)
        if task.text is not None and task.entity_id:
            self._said.setdefault((task.entity_id, hashlib.sha256(task.text).hexdigest()), (sent.n, task.text))
        return task

    def _wave(self, tasks: Sequence[Task]) -> Sequence[Task]:
        """The next operation, or several plain ones that do not touch each other."""
        seen: set[UUID | None] = set()
        for at, task in enumerate(tasks):
            named = {task.sent.op_id, task.entity_id}
            if at == AT_ONCE or not _is_plain(task) or seen & named:
                return tasks[: max(at, 1)]
            seen |= named
        return tasks

    async def _all(self, wave: Sequence[Task], deadline: float) -> list[Result]:
        new = [task for task in wave if _is_plain(task) and not self._is_settled(task)]
        done = await self._service.carry_out_at_once(new) if new else {}
        rest = [task for task in wave if task.sent.op_id not in done]
        for few in (rest[at : at + PARALLEL] for at in range(0, len(rest), PARALLEL)):
            if time.monotonic() >= deadline:
                break
            for task, result in zip(few, await asyncio.gather(*map(self._one, few)), strict=True):
                done[task.sent.op_id] = result
        return [done.get(task.sent.op_id) or _result(task, "retry", {"code": "not_reached"}) for task in wave]

    def _is_settled(self, task: Task) -> bool:
        return task.sent.op_id in self._known or self._is_blocked(task)

    def _is_blocked(self, task: Task) -> bool:
        type_ = (task.sent.model_extra or {}).get("type")
        return bool(self._undone & _touches(task)) or (type_ == "update" and task.entity_id in self._copied)

    async def _one(self, task: Task) -> Result:
        if known := self._known.get(task.sent.op_id):
            return repeated(task, known)
        if self._is_blocked(task):
            return await self._service.block(task)
        return await self._service.carry_out_one(task)


def acting(principal: Principal, task: Task) -> Principal:
    """The user, acting by this operation of a device."""
    if task.device_id is None:
        return principal
    return replace(principal, device_id=task.device_id, op_id=task.sent.op_id)


async def claim(bench: Bench, task: Task) -> None:
    """First write of an effect. Raises `KnownError` if it is done."""
    if not await bench.operations.claim(task.claim):
        raise KnownError


async def finish(bench: Bench, task: Task, outcome: Outcome, *, claimed: bool = False) -> Outcome:
    """Last write of an effect: its result, in the same transaction. Raises `KnownError`."""
    if not claimed:
        await claim(bench, task)
    text = task.text if outcome.keep_text else None
    payload = (hashlib.sha256(text).hexdigest(), zstandard.compress(text)) if text is not None else None
    kept = {name: value for name, value in outcome.fields.items() if name not in OTHERS}
    await bench.operations.keep(task.sent.op_id, task.entity_id, outcome.status, kept, payload)
    return outcome


def repeated(task: Task, row: Row) -> Result:
    """The answer given the first time; another operation under the same id is refused."""
    if bytes(row["request_hash"]) != task.digest:
        return _result(task, "rejected", {"code": OperationReusedError.code, "detail": OperationReusedError.title})
    return _result(task, row["status"], row["result"]) | {"duplicate": True}


def _result(task: Task, status: str, fields: Mapping[str, Any]) -> Result:
    extra = task.sent.model_extra or {}
    named = {"op_id": str(task.sent.op_id), "n": task.sent.n, "entity": extra.get("entity"), "id": extra.get("id")}
    return {**named, "status": status, **fields}


def _is_plain(task: Task) -> bool:
    extra = task.sent.model_extra or {}
    return extra.get("entity") == "document" and extra.get("type") in ("create", "update")


def _touches(task: Task) -> set[UUID | None]:
    extra = task.sent.model_extra or {}
    return {task.sent.op_id, task.entity_id, _uuid(extra.get("parent_id"))} - {None}


def _uuid(value: Any) -> UUID | None:
    try:
        return UUID(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _understood(task: Task) -> Operation:
    operation: Operation = OPERATION.validate_python(task.sent.as_sent())
    _check_hash(operation, task)
    _check_sender(operation, task)
    return operation


def _check_hash(operation: Operation, task: Task) -> None:
    if not isinstance(operation, CreateDocument | UpdateDocument) or operation.content_hash is None:
        return
    if hashlib.sha256(operation.content.encode()).hexdigest() != operation.content_hash:
        raise ContentHashMismatchError


def _check_sender(operation: Operation, task: Task) -> None:
    if isinstance(operation, Resolve) and task.device_id is not None:
        raise OperationInternalError


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if "." not in str(part))
    return f"{place}: {first['msg']}" if place else str(first["msg"])
