"""Help with texts."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response

from common import telemetry
from common.dependencies import BEARER
from common.errors import ServiceError
from common.idempotency import json_response

from ..dependencies import Assist, Heartbeat
from ..schemas import AssistAnswer, AssistRequest
from ..service import AssistService, Exchange
from ..service.assist import Answer, Job
from ..service.exchange import GONE
from .streams import HEARTBEAT, Receive, Send, beating, put, watching

router = APIRouter(prefix="/v1/ai", tags=["ai"], dependencies=[BEARER])


@router.post(
    "/assist",
    response_model=AssistAnswer,
    responses={
        200: {"content": {"text/event-stream": {}}, "description": "With `stream`: delta events, then done or error"}
    },
)
async def assist(body: AssistRequest, request: Request, service: Assist, heartbeat: Heartbeat) -> Response:
    """Work on a text or answer a question about it; with `stream` as Server-Sent Events, with `edit` as edits too."""
    job = await service.prepare(body)
    exchange = service.open(job)
    answer = Answer(exchange)
    async with watching(request.receive, lambda: exchange.end(GONE)):
        if body.stream:
            await exchange.admit()
            return AssistStream(service, job, exchange, answer, heartbeat)
        async with exchange:
            async for _ in answer.parts():
                pass
    return json_response(service.finish(job, answer))


def event(name: str, data: Any) -> bytes:
    """One Server-Sent Event."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), orjson.dumps(data))


class AssistStream(Response):
    """An answer as it comes, to a call that was admitted; what goes wrong from then on is its last event."""

    media_type = "text/event-stream"

    def __init__(self, service: AssistService, job: Job, exchange: Exchange, answer: Answer, heartbeat: float) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._service = service
        self._job = job
        self._exchange = exchange
        self._answer = answer
        self._heartbeat = heartbeat

    async def __call__(self, _scope: Any, receive: Receive, send: Send) -> None:
        """Send the stream."""
        events = self._events()
        try:
            async with watching(receive, lambda: self._exchange.end(GONE)), aclosing(events):
                await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                await put(send, HEARTBEAT)  # a model may think for minutes before it says anything
                async with aclosing(beating(events, self._heartbeat)) as beaten:
                    async for one in beaten:
                        await put(send, one)
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:  # if not a single event was waited for
            await self._exchange.__aexit__(None, None, None)

    async def _events(self) -> AsyncGenerator[bytes, None]:
        try:
            await self._exchange.ask()
            async for part in self._answer.parts():
                yield event("delta", {"text": part})
            await self._exchange.__aexit__(None, None, None)  # counted before it is said to be done
            last = event("done", self._service.finish(self._job, self._answer))
        except ServiceError as error:
            await self._exchange.__aexit__(type(error), error, None)
            last = event("error", error.problem(telemetry.trace_id()))
        except BaseException as error:
            await asyncio.shield(self._exchange.__aexit__(type(error), error, None))
            raise
        yield last
