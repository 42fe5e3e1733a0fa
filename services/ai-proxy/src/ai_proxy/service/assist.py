"""Help with texts: what is worked on is fetched by the caller's rights, and told apart from what is asked."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from common.access import Action
from common.client import InternalClient, PeerNotFoundError
from common.errors import RateLimitedError

from ..domain import edits
from ..domain.endings import complete, ending
from ..domain.prompting import Material, Page, Prompt, TooLongError, citations, compose
from ..domain.wires import WIRES, Wire
from ..domain.wires.wire import events
from ..errors import (
    AssistIncompleteError,
    ContextFileElsewhereError,
    ContextFileNotFoundError,
    ContextFileUnreadableError,
    ContextTooLongError,
    DocumentNotFoundError,
    EditUnusableError,
    ProviderBrokenError,
)
from ..providers.catalog import Catalog
from ..schemas import Action as Verb
from ..schemas import AssistRequest
from .exchange import Ask, Exchange, Exchanges
from .places import Caller, Place, Places

ANSWER_TOKENS: Final = 16_000
CONTEXT_SECONDS: Final = 10.0
_OPERATION: Final = {"openai": ("POST", "chat/completions"), "anthropic": ("POST", "messages")}


@dataclass(frozen=True, slots=True)
class Source:
    """The document as it is."""

    id: UUID
    version: int
    text: str


@dataclass(frozen=True, slots=True)
class Reading:
    """What the texts of some context files are, and which workspaces they belong to."""

    pages: Sequence[Sequence[Page]] = ()
    workspaces: frozenset[UUID] = frozenset()


class Answer:
    """What the model says, as it says it, and why it stopped."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._said: list[str] = []
        self._ending: str | None = None

    async def parts(self) -> AsyncGenerator[str, None]:
        """Raises `ProviderError`, `RateLimitedError`."""
        exchange = self._exchange
        if exchange.status == 429:  # noqa: PLR2004
            raise RateLimitedError("The provider is asked too much at the moment", retry_after=5)
        if exchange.status >= 400 or not exchange.streamed:  # noqa: PLR2004
            raise ProviderBrokenError(f"it answered {exchange.status}")
        rest = b""
        async for chunk in exchange.stream():
            data = rest + chunk
            end = data.rfind(b"\n") + 1
            rest = data[end:]
            if said := self._read(data[:end]):
                yield said
        if said := self._read(rest):  # the last line may lack its end
            yield said

    def _read(self, data: bytes) -> str:
        found = list(events(data))
        said = "".join(map(self._exchange.wire.said, found))
        self._said.append(said)
        for event in found:
            self._ending = ending(event) or self._ending
        return said

    def text(self) -> str:
        """All of it. Raises `ProviderBrokenError` if the model had more to say."""
        if not complete(self._ending):
            raise ProviderBrokenError(f"the answer was cut: {(self._ending or 'it has no end')[:100]}")
        return "".join(self._said)


@dataclass(frozen=True, slots=True)
class Job:
    """A request that was understood: what is told to which model, and what its answer changes."""

    request: AssistRequest
    place: Place
    source: Source | None
    prompt: Prompt
    model: str
    hunks: bool


class AssistService:
    """Assistance for one caller."""

    def __init__(
        self,
        exchanges: Exchanges,
        catalog: Catalog,
        places: Places,
        client: InternalClient,
        caller: Caller,
        *,
        model: str,
        context_tokens: int,
    ) -> None:
        self._exchanges = exchanges
        self._catalog = catalog
        self._places = places
        self._client = client
        self._caller = caller
        self._model = model
        self._context_tokens = context_tokens

    async def prepare(self, request: AssistRequest) -> Job:
        """Fetch what it is about. Raises `AssistIncompleteError`, `ContextTooLongError`, and what is not there."""
        _complete(request)
        place = await self._places.find(request.workspace_id, request.document_id)
        if place.workspace_id:
            place = await self._places.require(self._caller, place, Action.READ)
        (source, place), reading = await asyncio.gather(self._source(place), self._read(request.context_file_ids))
        place = await self._same(place, reading.workspaces)
        if source and request.edit and request.selection:
            _placed(source.text, request)
        hunks = request.edit and request.selection is None and request.action is not Verb.CONTINUE
        material = Material(
            document=source.text if source else None,
            selection=request.selection,
            selection_start=request.selection_start,
            files=reading.pages,
            whole=request.selection is None and request.action not in (Verb.ASK, Verb.CONTINUE),
            keep_end=request.action is Verb.CONTINUE,
        )
        try:
            prompt = compose(
                request.action, material, instructions=request.instructions, language=request.language, hunks=hunks,
                budget=self._context_tokens,
            )  # fmt: skip
        except TooLongError:
            raise ContextTooLongError(f"{self._context_tokens} tokens at most: select a part of it") from None
        return Job(request, place, source, prompt, request.model or self._model, hunks)

    async def _source(self, place: Place) -> tuple[Source | None, Place]:
        """The text, and where it lies: if elsewhere than was thought, the caller has to read there."""
        if place.document_id is None:
            return None, place
        try:
            head = await self._client.get("documents", f"/internal/documents/{place.document_id}/head")
        except PeerNotFoundError:
            raise DocumentNotFoundError from None
        if head["trashed"]:
            raise DocumentNotFoundError
        found = Place(UUID(head["workspace_id"]), place.document_id, UUID(head["access_root_id"]))
        if found != place:
            found = await self._places.require(self._caller, found, Action.READ)
        return Source(place.document_id, head["version"], head["content"] or ""), found

    async def _same(self, place: Place, workspaces: frozenset[UUID]) -> Place:
        """Context files belong to the call's workspace, or say which it is: its switch and budget hold for them too.

        Raises `ContextFileElsewhereError`.
        """
        if workspaces <= {place.workspace_id}:
            return place
        if place.workspace_id or len(workspaces) > 1:
            raise ContextFileElsewhereError
        return await self._places.require(self._caller, Place(*workspaces), Action.READ)

    async def _read(self, ids: Sequence[UUID]) -> Reading:
        if not ids:
            return Reading()
        body = {"ids": list(ids), "max_tokens": self._context_tokens}
        try:
            answer = await self._client.post(
                "files", "/internal/context-files/texts", body, acting_user=self._caller.user_id,
                user_token=self._caller.token, seconds=CONTEXT_SECONDS,
            )  # fmt: skip
        except PeerNotFoundError:
            raise ContextFileNotFoundError from None
        if problems := [one["problem"] for one in answer["files"] if one["problem"]]:
            raise ContextFileUnreadableError(problems[0])
        pages = [
            [Page(UUID(one["id"]), one["name"], page["number"], page["text"]) for page in one["pages"]]
            for one in answer["files"]
        ]
        return Reading(pages, frozenset(UUID(one["workspace_id"]) for one in answer["files"]))

    def open(self, job: Job) -> Exchange:
        """The exchange that answers it."""
        provider = self._catalog.any_of_model(job.model)
        wire = provider.wire
        return self._exchanges.open(
            Ask(
                caller=self._caller,
                place=job.place,
                wire=wire,
                operation=wire.operations[_OPERATION[wire.name]],
                body=_body(wire, job, min(self._catalog.prices.of(job.model).answer, ANSWER_TOKENS)),
                headers={name: value for name, value in wire.request_headers.items() if value},
                label=f"assist.{job.request.action}",
            )
        )

    def finish(self, job: Job, answer: Answer) -> dict[str, Any]:
        """The answer, as `AssistAnswer`. Raises `ProviderBrokenError`, `EditUnusableError`."""
        text = answer.text()
        return {
            "text": text,
            "model": job.model,
            "truncated": job.prompt.truncated,
            "citations": citations(text, job.prompt.marks),
            "edit": _edit(job, text) if job.request.edit else None,
        }


def _complete(request: AssistRequest) -> None:
    """Raises `AssistIncompleteError`."""
    if request.action is Verb.ASK and not request.instructions:
        raise AssistIncompleteError("ask: put the question into instructions")
    if request.action is Verb.TRANSLATE and not request.language:
        raise AssistIncompleteError("translate: name the language")
    if request.action is not Verb.ASK and request.selection is None and request.document_id is None:
        raise AssistIncompleteError("give a document, a selection, or both")
    if request.edit and request.document_id is None:
        raise AssistIncompleteError("edit: name the document")
    if request.edit and request.action in (Verb.ASK, Verb.SUMMARIZE):
        raise AssistIncompleteError(f"{request.action}: changes nothing")


def _placed(text: str, request: AssistRequest) -> int:
    try:
        return edits.place(text, request.selection or "", request.selection_start)
    except edits.EditInvalidError as error:
        raise AssistIncompleteError(str(error)) from None


def _body(wire: Wire, job: Job, most: int) -> dict[str, Any]:
    messages = [{"role": "user", "content": job.prompt.user}]
    if wire is WIRES["anthropic"]:
        return {
            "model": job.model, "max_tokens": most, "system": job.prompt.system, "messages": messages, "stream": True
        }  # fmt: skip
    system = {"role": "system", "content": job.prompt.system}
    return {
        "model": job.model, "max_completion_tokens": most, "messages": [system, *messages], "stream": True
    }  # fmt: skip


def _edit(job: Job, answer: str) -> dict[str, Any]:
    """Raises `EditUnusableError`."""
    source, request = job.source, job.request
    assert source is not None  # noqa: S101 - an edit needs a document
    if not (job.hunks or answer.strip()):
        raise EditUnusableError("the model said nothing")
    try:
        made = edits.read_hunks(answer) if job.hunks else [_replaced(source.text, request, answer)]
        edits.check(source.text, made)
    except edits.EditInvalidError as error:
        raise EditUnusableError(str(error)) from None
    return {"document_id": source.id, "base_version": source.version, "edits": made}


def _replaced(text: str, request: AssistRequest, answer: str) -> dict[str, str]:
    if request.selection is None:
        return {"append": answer}
    new = request.selection + answer if request.action is Verb.CONTINUE else answer
    return edits.replacing(text, _placed(text, request), len(request.selection), new)
