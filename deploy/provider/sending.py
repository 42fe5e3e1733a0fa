"""How an answer is sent: pieces with pauses, or what a fault leaves of them."""

import asyncio
import time

from aiohttp import web

from deploy.provider.behaviour import CLOCK, Behaviour
from deploy.provider.prompt import Rendered
from deploy.provider.record import Received
from deploy.provider.wire import EVENTS, JSON, of_status, told

SMALLEST_PAUSE = 0.001
AT_ONCE = 10
"""Pieces in one write when there is no pause between them: as a provider's network would, were it so quick."""
FLOOD = b"x" * 65536
GARBAGE = b'\x00\xff\xfe<html>502 Bad Gateway</html>\r\n{"half": [1, 2'
BLANK = CLOCK % 0
ELSEWHERE = "http://provider.invalid/v1/elsewhere"


class Sending:
    """One answer on its way out."""

    def __init__(self, request: web.Request, received: Received, behaviour: Behaviour, rendered: Rendered) -> None:
        self._request = request
        self._received = received
        self._behaviour = behaviour
        self._rendered = rendered

    async def run(self, *, streamed: bool) -> web.StreamResponse:
        """Send all of it, or what the fault leaves of it. Raises `RefusedError`, `ConnectionError`."""
        behaviour = self._behaviour
        if behaviour.first_byte_seconds:
            await asyncio.sleep(behaviour.first_byte_seconds)
        if behaviour.status != 200:
            raise of_status(behaviour.status, behaviour.retry_after)
        match behaviour.fault:
            case "silent":
                await asyncio.Event().wait()
            case "disconnect":
                return self._break_off(web.Response())
            case "redirect":
                return web.Response(status=307, headers={"Location": ELSEWHERE})
        if not streamed:
            return await self._whole()
        return await self._stream()

    async def _whole(self) -> web.StreamResponse:
        body, fault = self._rendered.whole, self._behaviour.fault
        if fault is None:
            return web.Response(body=body, headers=told(self._request, JSON))
        if fault == "garbage":
            return web.Response(body=GARBAGE, headers=told(self._request, JSON))
        if fault == "error":
            raise of_status(500)
        response = web.StreamResponse(headers=told(self._request, JSON))
        await response.prepare(self._request)
        await response.write(body[: len(body) // 2])
        if fault == "stall":
            await asyncio.Event().wait()
        while fault in {"endless", "flood"}:
            await response.write(b" " * 1024 if fault == "endless" else FLOOD)
            await asyncio.sleep(SMALLEST_PAUSE)
        return self._break_off(response)

    async def _stream(self) -> web.StreamResponse:
        response = web.StreamResponse(headers=told(self._request, EVENTS))
        await response.prepare(self._request)
        fault, rendered = self._behaviour.fault, self._rendered
        if fault == "garbage":
            await response.write(GARBAGE)
            await response.write_eof()
            return response
        await response.write(b"".join(rendered.head))
        await self._send_pieces(response, self._until())
        if fault is None:
            await response.write(b"".join(rendered.tail))
        elif fault == "error":
            await response.write(rendered.error)
        elif fault == "half":
            return self._break_off(response)
        else:
            await self._never_end(response)
        await response.write_eof()
        return response

    def _until(self) -> int:
        behaviour, there = self._behaviour, len(self._rendered.pieces)
        if behaviour.fault is None:
            return there
        return there // 2 if behaviour.pieces is None else min(there, behaviour.pieces)

    async def _send_pieces(self, response: web.StreamResponse, count: int) -> None:
        received, behaviour, sent = self._received, self._behaviour, self._rendered.pieces[:count]
        if not behaviour.piece_seconds:
            for at in range(0, len(sent), AT_ONCE):
                some = sent[at : at + AT_ONCE]
                await response.write(b"".join(some))
                received.pieces += len(some)
            return
        for piece in sent:
            await asyncio.sleep(behaviour.piece_seconds)
            now = (CLOCK % time.monotonic_ns()).encode() if behaviour.clock else b""
            await response.write(piece.replace(BLANK.encode(), now) if now else piece)
            received.pieces += 1

    async def _never_end(self, response: web.StreamResponse) -> None:
        fault, pause = self._behaviour.fault, max(self._behaviour.piece_seconds, SMALLEST_PAUSE)
        if fault == "stall":
            await asyncio.Event().wait()
        if fault == "flood":
            await response.write(b"data: ")
        while True:
            await asyncio.sleep(pause)
            await response.write(FLOOD if fault == "flood" else self._rendered.pieces[-1])
            self._received.pieces += fault == "endless"

    def _break_off(self, response: web.StreamResponse) -> web.StreamResponse:
        """End the connection here."""
        self._received.end = "broken off"
        if self._request.transport is not None:
            self._request.transport.close()
        return response
