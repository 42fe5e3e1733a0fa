"""Changes: bootstrap, pull, verify, stream, poll, status."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response
from starlette.types import Receive, Send
from starlette.types import Scope as Connection

from common.idempotency import json_response

from ..dependencies import Feed, Protocol, Stream, Summary
from ..schemas import (
    BootstrapPage,
    BootstrapRequest,
    PollAnswer,
    PollRequest,
    PullPage,
    PullRequest,
    Status,
    VerifyAnswer,
    VerifyRequest,
)
from . import answers

router = APIRouter()

SEND_SECONDS = 30.0
"""A reader that takes longer over one event is gone, or worse."""
BACKOFF_SECONDS = 1


@router.post("/bootstrap", response_model=BootstrapPage)
async def bootstrap(body: BootstrapRequest, feed: Feed, _protocol: Protocol) -> Response:
    """Everything the caller may read, page by page; the last page carries the cursor to pull with."""
    if body.page_token is None:
        told = await feed.begin(body.device_id, body.limit, body.max_bytes)
    else:
        told = await feed.go_on(body.page_token, body.limit, body.max_bytes, device_id=body.device_id)
    return json_response(answers.bootstrap_page(told))


@router.post("/pull", response_model=PullPage)
async def pull(body: PullRequest, feed: Feed, _protocol: Protocol) -> Response:
    """What changed behind a cursor, with what the caller may read now and may not any more."""
    seen = None
    if body.after_write:
        seen = await feed.wait_for(answers.written(body.after_write), body.wait_ms / 1000)
    told = await feed.go_on(body.cursor, body.limit, body.max_bytes)
    return json_response(answers.pull_page(told, read_after_write=seen))


@router.post("/verify", response_model=VerifyAnswer)
async def verify(body: VerifyRequest, feed: Feed) -> Response:
    """Compare 256 tallies of a scope with the server's; what the buckets that differ hold. Without: the server's."""
    theirs = answers.tallies(body.buckets) if body.buckets is not None else None
    return json_response(answers.verify_answer(body.scope, await feed.verify(answers.scope_of(body.scope), theirs)))


@router.get("/status", response_model=Status)
async def status(summary: Summary) -> Response:
    """Heads of the caller's scopes, devices, open conflicts, how late changes are logged."""
    return json_response(summary)


@router.get("/stream", response_class=Response, responses={200: {"content": {"text/event-stream": {}}}})
async def stream(device_id: Annotated[UUID, Query()], streams: Stream, _protocol: Protocol) -> Response:
    """Pokes (Server-Sent Events): pull when one comes."""
    waiter = await streams.device(device_id)
    return EventStream(streams.events(waiter), lambda: waiter.end("gone"))


@router.post("/poll", response_model=PollAnswer)
async def poll(body: PollRequest, feed: Feed, streams: Stream, _protocol: Protocol) -> Response:
    """Wait until a pull would tell something, at most `timeout` seconds."""
    waiter = await streams.watch(feed.device_of(body.cursor))
    changed = await streams.changed(waiter, lambda: feed.is_behind(body.cursor), body.timeout)
    return json_response({"changed": changed, "backoff": 0 if changed else BACKOFF_SECONDS})


class EventStream(Response):
    """Events as they come, until they end or the client is gone; one that does not read is cut off."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[bytes], gone: Callable[[], None]) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._events = events
        self._gone = gone

    async def __call__(self, _scope: Connection, receive: Receive, send: Send) -> None:
        """Send the stream."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        listener = asyncio.create_task(self._listen(receive))
        try:
            async for event in self._events:
                async with asyncio.timeout(SEND_SECONDS):
                    await send({"type": "http.response.body", "body": event, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            listener.cancel()

    async def _listen(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._gone()
