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
from ..domain.prompting import Material, Page, Prompt, TooLongError, citations, compose
from ..domain.wires import WIRES, Wire
from ..domain.wires.wire import events
from ..errors import (
    AssistIncompleteError,
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
        source, pages = await asyncio.gather(self._source(place), self._pages(request.context_file_ids))
        if source and request.edit and request.selection:
            _placed(source.text, request)
        hunks = request.edit and request.selection is None and request.action is not Verb.CONTINUE
        material = Material(
            document=source.text if source else None,
            selection=request.selection,
            files=pages,
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

    async def _source(self, place: Place) -> Source | None:
        if place.document_id is None:
            return None
        try:
            head = await self._client.get("documents", f"/internal/documents/{place.document_id}/head")
        except PeerNotFoundError:
            raise DocumentNotFoundError from None
        if head["trashed"]:
            raise DocumentNotFoundError
        return Source(place.document_id, head["version"], head["content"] or "")

    async def _pages(self, ids: Sequence[UUID]) -> list[list[Page]]:
        if not ids:
            return []
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
        return [
            [Page(UUID(one["id"]), one["name"], page["number"], page["text"]) for page in one["pages"]]
            for one in answer["files"]
        ]

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

    async def text(self, exchange: Exchange) -> AsyncGenerator[str, None]:
        """What the model says, as it says it. Raises `ProviderError`, `RateLimitedError`."""
        if exchange.status == 429:  # noqa: PLR2004
            raise RateLimitedError("The provider is asked too much at the moment", retry_after=5)
        if exchange.status >= 400 or not exchange.streamed:  # noqa: PLR2004
            raise ProviderBrokenError(f"it answered {exchange.status}")
        rest = b""
        async for chunk in exchange.stream():
            data = rest + chunk
            end = data.rfind(b"\n") + 1
            rest = data[end:]
            if said := "".join(map(exchange.wire.said, events(data[:end]))):
                yield said

    def finish(self, job: Job, answer: str) -> dict[str, Any]:
        """The answer, as `AssistAnswer`. Raises `EditUnusableError`."""
        return {
            "text": answer,
            "model": job.model,
            "truncated": job.prompt.truncated,
            "citations": citations(answer, job.prompt.marks),
            "edit": _edit(job, answer) if job.request.edit else None,
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
    made: list[dict[str, str]]
    if job.hunks:
        made = edits.read_hunks(answer)
    elif request.selection is None:
        made = [{"append": answer}]
    else:
        at = _placed(source.text, request)
        new = request.selection + answer if request.action is Verb.CONTINUE else answer
        made = [edits.replacing(source.text, at, len(request.selection), new)]
    try:
        edits.check(source.text, made)
    except edits.EditInvalidError as error:
        raise EditUnusableError(str(error)) from None
    return {"document_id": source.id, "base_version": source.version, "edits": made}
