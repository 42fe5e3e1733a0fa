"""One call from beginning to end: reserved, asked, handed on as it comes, settled by what was counted."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
import orjson

from common import telemetry
from common.connections import DRAINING, SESSION_REVOKED, Connections, OpenConnection
from common.errors import ServiceError

from ..domain.ledger import Amount
from ..domain.prices import Usage
from ..domain.reckoning import Sight, worst
from ..domain.stripping import UsageStripper
from ..domain.wires import Demand, Operation, Tally, Wire, dumped
from ..domain.wires.wire import BYTES_A_TOKEN, Rules
from ..errors import (
    AnswerTooLongError,
    CallEndedError,
    OwnKeyRefusedError,
    ProviderBrokenError,
    ProviderError,
    ProviderRefusedKeyError,
    ProviderUnreachableError,
    RequestRefusedError,
)
from ..providers.catalog import Catalog, Provider
from ..providers.keyring import Keyring, Sealed
from ..providers.line import AGENT, Call, Line, Target
from ..providers.masking import masked
from .meter import Ending, Meter, Wanted
from .models import Models, only
from .places import Caller, Place, Places

log = logging.getLogger(__name__)

STREAM: Final = "text/event-stream"
JSON: Final = "application/json"
GONE: Final = "gone"
PASSED_ON: Final = ("retry-after", "request-id", "openai-processing-ms")
"""Of the provider's headers: those that tell nothing of our account there."""
DRAIN_SECONDS: Final = 20.0
"""A process that is about to stop lets calls finish for so long; a little later the server cuts them off."""
LONGEST_ERROR: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Terms:
    """Bounds of every answer, in bytes."""

    answer_limit: int


@dataclass(frozen=True, slots=True)
class Ask:
    """What somebody wants of a provider; `label` names it in the ledger, by default the operation."""

    caller: Caller
    place: Place
    wire: Wire
    operation: Operation
    body: Mapping[str, Any]
    headers: Mapping[str, str]
    query: str = ""
    label: str | None = None


class Exchanges:
    """Makes exchanges; holds what all of them need."""

    def __init__(
        self,
        meter: Meter,
        catalog: Catalog,
        line: Line,
        keyring: Keyring,
        places: Places,
        models: Models,
        connections: Connections,
        terms: Terms,
    ) -> None:
        self.meter = meter
        self.catalog = catalog
        self.line = line
        self.keyring = keyring
        self.places = places
        self.models = models
        self.connections = connections
        self.terms = terms

    def open(self, ask: Ask) -> "Exchange":
        """An exchange to be entered."""
        return Exchange(self, ask)


class Exchange:
    """Entered: the provider has answered, with whatever `status`. Left: it is counted, and nothing is open any more.

    Entering raises what `admit` and `ask` do.
    """

    def __init__(self, own: Exchanges, ask: Ask) -> None:
        self._own = own
        self._ask = ask
        self._call: Call = own.line.call()
        self._tally = Tally(ask.wire)
        self._usage: Usage | None = None
        self._begun = time.monotonic()
        self._first_byte: float | None = None
        self._first_delta: float | None = None
        self._draining: asyncio.TimerHandle | None = None
        self._outcome = "completed"
        self._registered: Any = None
        self._left = False
        self._key = ""
        self.streamed = False
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        """Of an answer that is not streamed."""

    @property
    def wire(self) -> Wire:
        """The format of the answer."""
        return self._ask.wire

    async def __aenter__(self) -> Self:
        await self.admit()
        await self.ask()
        return self

    async def admit(self) -> None:
        """Reserve it: from then on it has to be left.

        Raises `RequestRefusedError`, `ProviderNotFoundError`, and what `Meter.reserve` does.
        """
        self._demand = self._demanded(Rules(shared=False))
        self._provider = self._own.catalog.of_model(self.wire, self._demand.model)
        self._model = self._demand.model
        self._price = self._own.catalog.prices.of(self._model)
        self._wanted = self._want()
        self._reserved = await self._own.meter.reserve(self._ask.caller, self._ask.place, self._wanted)

    async def ask(self) -> None:
        """Have the provider answer; if it does not, the exchange is left. Raises `ProviderError`."""
        try:
            await self._ask_provider()
        except BaseException as error:
            await self._leave(error)
            raise

    def _demanded(self, rules: Rules, model: str | None = None) -> Demand:
        """What is asked for, of another model if one is given. Raises `RequestRefusedError`."""
        ask = self._ask
        if ask.operation.method != "POST":
            _, _, name = ask.operation.path.partition("models/")
            return Demand(name, {}, streamed=False, text_bytes=0, answer_tokens=0)
        return ask.wire.demand(ask.operation, {**ask.body, **({"model": model} if model else {})}, rules)

    def _want(self) -> Wanted:
        """Raises `RequestRefusedError` for a model of which nobody knows what it costs."""
        demand, priced = self._demand, self._ask.operation.priced
        fallback = self._fallback()
        models = [one for one in (demand.model, fallback and fallback[1]) if one]
        label = self._ask.label or self._ask.operation.name
        if not priced:
            return Wanted(self._provider.name, models, label, demand.streamed, Amount(), 0, 0)
        if dark := [model for model in models if not self._own.catalog.prices.priced(model)]:
            raise RequestRefusedError(f"model: nobody has said here what {dark[0][:100]} costs")
        most = worst(demand, self._own.catalog.dearest(models))
        bounds = demand.input_estimate(self._price), demand.output_bound(self._price)
        return Wanted(self._provider.name, models, label, demand.streamed, most, *bounds)

    async def _ask_provider(self) -> None:
        reserved = self._reserved
        key = self._provider.key
        if reserved.ciphertext is not None and reserved.wrapped_key is not None:
            sealed = Sealed(reserved.wrapped_key, reserved.ciphertext)
            key = await self._own.keyring.open(sealed, f"{reserved.key_owner}:{self._provider.name}")
        self._demand = self._demanded(Rules(self._provider.stream_usage, shared=reserved.ciphertext is None))
        self._tally.answers = self._demand.answers
        self._register()
        self._own.meter.watch(reserved, lambda: self._sight().written)
        await self._open(key)
        self._first_byte = time.monotonic()
        self._ask, self._demand = replace(self._ask, body={}), replace(self._demand, body={})  # they can be large
        await self._take()

    def _register(self) -> None:
        """Whoever loses the right to this place, or their session, loses this call."""
        ask, place = self._ask, self._ask.place
        subjects = [one for one in (self._reserved.workspace_id, place.document_id, place.root_id) if one]
        where = place if place.workspace_id else replace(place, workspace_id=self._reserved.workspace_id)

        async def allowed() -> bool:
            return await self._own.places.may_read(ask.caller, where)

        connection = OpenConnection(ask.caller.principal, subjects, allowed, self.end)
        self._registered = self._own.connections.registered(connection)
        self._registered.__enter__()
        if self._own.connections.ended(connection):  # before there was anything to end
            self.end(SESSION_REVOKED)

    def end(self, why: str) -> None:
        """Break it off: the provider's line is closed at once. A process that is about to stop waits for a while."""
        if why != DRAINING:
            self._call.end(why)
        elif self._draining is None:
            self._draining = asyncio.get_running_loop().call_later(DRAIN_SECONDS, self._call.end, why)

    async def _open(self, key: str) -> None:
        """Ask, or whoever is asked instead. Raises `ProviderError`."""
        try:
            await self._call.open(self._target(self._provider, key, self._reserved.key_owner))
            failed = self._call.status == 429 or self._call.status >= 500  # noqa: PLR2004
        except ProviderUnreachableError:
            if not self._fallback():
                raise
            failed = True
        if failed and self._fallback() and self._reserved.ciphertext is None:
            self._provider, self._model = self._fallback()  # type: ignore[misc]
            self._price = self._own.catalog.prices.of(self._model)
            self._demand = self._demanded(Rules(self._provider.stream_usage), self._model)
            await self._call.open(self._target(self._provider, self._provider.key))

    def _fallback(self) -> tuple[Provider, str] | None:
        return self._own.catalog.fallback(self._provider, self._model) if self._ask.operation.priced else None

    def _target(self, provider: Provider, key: str, key_owner: str | None = None) -> Target:
        ask, self._key = self._ask, key
        headers = {
            "User-Agent": AGENT,
            "Accept": STREAM if self._demand.streamed else JSON,
            "Accept-Encoding": "identity",
            **ask.headers,
            **(ask.wire.credentials(key) if key else {}),
        }
        posts = ask.operation.method == "POST"
        if posts:
            headers["Content-Type"] = JSON
        url = f"{provider.base_url}/{ask.operation.path}" + (f"?{ask.query}" if ask.query else "")
        body = dumped(self._demand.body) if posts else None
        return Target(provider.name, ask.operation.method, url, headers, body, self._demand.model, key_owner)

    async def _take(self) -> None:
        """Look at what the answer is; one that is no stream is taken whole. Raises `ProviderError`."""
        call = self._call
        self.status = call.status
        kind = call.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        self.headers = {name: value for name in PASSED_ON if (value := call.headers.get(name))}
        if self.status >= 400:  # noqa: PLR2004
            self._outcome = "refused"
            await self._take_error(kind)
            return
        if not 200 <= self.status < 300 or "Content-Encoding" in call.headers:  # noqa: PLR2004
            raise ProviderBrokenError(f"it answered {self.status}")
        if kind == STREAM and self._demand.streamed:
            self.streamed = True
            self.headers["content-type"] = "text/event-stream; charset=utf-8"
            self.headers["x-accel-buffering"] = "no"
            return
        if kind != JSON:
            raise ProviderBrokenError("its answer is of another kind")
        self.headers["content-type"] = JSON
        self.body = await self._read_whole(self._own.terms.answer_limit)
        if not self._ask.operation.priced:
            self.body = masked(self.body, self._key)
        self._usage = self._ask.wire.usage(_object(self.body))
        if self._ask.operation.name == "models":
            where = replace(self._ask.place, workspace_id=self._reserved.workspace_id)
            self.body = only(self.body, await self._own.models.allowed(self._ask.caller, where))

    async def _read_whole(self, limit: int) -> bytes:
        try:
            body = await self._call.read_all(limit)
        except (aiohttp.ClientError, OSError) as error:
            raise ProviderBrokenError("its answer ended in the middle") from error
        if len(body) > limit:
            raise AnswerTooLongError
        return body

    async def _take_error(self, kind: str) -> None:
        """An error is passed on in the provider's words, without anything that could tell a key or account."""
        if self.status in (401, 403):
            raise OwnKeyRefusedError if self._reserved.ciphertext is not None else ProviderRefusedKeyError
        body = await self._read_whole(LONGEST_ERROR)
        if kind != JSON or "error" not in _object(body):
            raise ProviderBrokenError(f"it answered {self.status}")
        self.headers["content-type"] = JSON
        self.body = masked(body, self._key)

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """A streamed answer as it comes; what goes wrong on the way is its last event."""
        last = b""
        try:
            async for chunk in self.stream():
                last = chunk
                yield chunk
        except ProviderError as error:
            self._call.skip()
            self._outcome = error.outcome
            if self._call.ended != GONE:
                if last and not last.endswith(b"\n\n"):  # else ours would be part of half an event
                    yield b"\n\n"
                yield self._ask.wire.error_event(self.error(error))

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """A streamed answer as it comes. Raises `ProviderError`."""
        stripper = UsageStripper() if self._demand.strips_usage else None
        length = 0
        while chunk := await self._next():
            length += len(chunk)
            if length > self._own.terms.answer_limit:
                raise AnswerTooLongError
            self._tally.feed(chunk)
            if self._first_delta is None and self._tally.deltas:
                self._first_delta = time.monotonic()
            if stripper is None:
                yield chunk
            elif whole := stripper.feed(chunk):
                yield whole
        if stripper and (rest := stripper.rest()):
            yield rest
        self._tally.feed(b"\n")  # the last line may lack its end
        self._tally.fold()
        if self._tally.failed:  # the provider has said so itself
            self._outcome = "failed"
        elif not self._tally.finished:
            raise ProviderBrokenError("its answer ended in the middle")

    async def _next(self) -> bytes:
        try:
            return await self._call.read()
        except (aiohttp.ClientError, OSError) as error:
            if self._call.ended:
                raise CallEndedError(self._call.ended) from None
            raise ProviderBrokenError("its answer ended in the middle") from error

    def error(self, error: ProviderError) -> dict[str, Any]:
        """In the provider's shape."""
        return self._ask.wire.error(error.status_code, error.code, error.detail, telemetry.trace_id())

    async def __aexit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self._leave(error)

    async def _leave(self, error: BaseException | None) -> None:
        """Once, whoever comes first."""
        if self._left:
            return
        self._left = True
        if isinstance(error, ProviderError):
            self._outcome = error.outcome
        elif isinstance(error, ServiceError):
            self._outcome = "refused"
        elif error is not None or self._call.ended:
            self._outcome = "aborted"
        if self._call.ended == SESSION_REVOKED:
            self._outcome = "revoked"
        if self._draining is not None:
            self._draining.cancel()
        await self._call.__aexit__()
        if self._registered is not None:
            self._registered.__exit__(None, None, None)
        # Counted even if this task is being cancelled: the client may go while the last byte is written.
        await asyncio.shield(asyncio.ensure_future(self._settle()))

    async def _settle(self) -> None:
        try:
            ending = self._ending()
        except Exception as error:  # noqa: BLE001 - whatever it is, the call is counted
            log.warning("nobody can tell what a call used", extra={"fields": {"cause": type(error).__name__}})
            self._own.meter.lose(self._reserved)
            return
        if ending.usage.total > self._wanted.worst.tokens:
            fields = {"provider": ending.provider, "model": ending.model, "tokens": ending.usage.total}
            log.warning("a call used more than it could", extra={"fields": fields})
        await self._own.meter.settle(self._reserved, ending)

    def _ending(self) -> Ending:
        usage, estimated = self._used()
        return Ending(
            self._provider.name, self._model, usage, self._outcome, estimated, self.status or None,
            int((self._first_byte - self._begun) * 1000) if self._first_byte else None,
            int((time.monotonic() - self._begun) * 1000),
        )  # fmt: skip

    def _used(self) -> tuple[Usage, bool]:
        """What is counted, and whether that is an estimate."""
        if not self._ask.operation.priced or self.status >= 400 or not self._call.asked:  # noqa: PLR2004
            return Usage(), False
        return self._sight().used(self._usage or self._tally.usage, completed=self._outcome == "completed")

    def _sight(self) -> Sight:
        self._tally.fold()
        seen = self._tally.seen_tokens if self.streamed else len(self.body) // BYTES_A_TOKEN
        dark = (self._first_delta or time.monotonic()) - self._begun
        return Sight(self._demand, self._price, self.streamed, seen, dark)


def _object(body: bytes) -> dict[str, Any]:
    """A JSON object. Raises `ProviderBrokenError`."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise ProviderBrokenError("its answer is no JSON")
    return found
