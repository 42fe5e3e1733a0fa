"""WebSockets without a layer between: whole messages go straight to the room, ready-made frames to the transport."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState

from common.errors import ServiceError

from ..errors import close_code

SCOPE_KEY: Final = "mdc.socket"
HIGH_WATER_BYTES: Final = 1024 * 1024
"""What may wait for one slow reader before nothing more is written to it."""
LOW_WATER_BYTES: Final = 64 * 1024
MESSAGES_PER_SECOND: Final = 200
BURST: Final = 400
CHARGED_BYTES: Final = 64 * 1024
"""A message counts once more for each so many bytes in it, or in the answer to it."""
QUIET_LOG = logging.getLogger("collab.sockets")
QUIET_LOG.setLevel(logging.WARNING)  # uvicorn's own line would hold the query string, and with it the ticket


class Socket(WebSocketsSansIOProtocol):
    """One connection; an ASGI app finds it in its scope under `SCOPE_KEY` and takes it over with `attach`.

    Until then it is uvicorn's: one message waits at most, since reading pauses.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.logger = self.conn.logger = QUIET_LOG
        self.full = False
        """Whether the peer does not read as fast as it is written to."""
        self.drained: Callable[[], None] = _nothing
        """Called when there is room again."""
        self._sink: Callable[[bytes], None] | None = None
        self._ended: asyncio.Future[None] = self.loop.create_future()
        self._allowance = float(BURST)
        self._counted_at = self.loop.time()

    def connection_made(self, transport: Any) -> None:
        """Take the transport, with our own idea of how much may wait."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=HIGH_WATER_BYTES, low=LOW_WATER_BYTES)

    def handle_connect(self, event: Any) -> None:
        """Leave a reference for the app."""
        super().handle_connect(event)
        if hasattr(self, "scope"):
            self.scope[SCOPE_KEY] = self  # type: ignore[typeddict-unknown-key]

    def attach(self, sink: Callable[[bytes], None]) -> None:
        """From here on every whole message goes to `sink`, those that waited first."""
        self._sink = sink
        while not self.queue.empty():
            event = self.queue.get_nowait()
            if event["type"] == "websocket.receive":
                self._take(event.get("bytes"))
        self._resume()

    async def ended(self) -> None:
        """Wait until the connection is over."""
        await self._ended

    def send_receive_event_to_app(self) -> None:
        """A message is complete."""
        if self._sink is None:
            super().send_receive_event_to_app()
            return
        data = self.frames[0] if len(self.frames) == 1 else b"".join(self.frames)
        self.frames = []
        if not self.close_sent:
            self._take(bytes(data) if self.curr_msg_data_type == "bytes" else None)

    def _take(self, message: bytes | None) -> None:
        sink = self._sink
        if sink is None:
            return
        sink(message or b"")  # a text message is nothing a protocol here knows
        self.charge(1 + len(message or b"") // CHARGED_BYTES)

    def charge(self, messages: int) -> None:
        """Count work done for the peer, in messages; whoever makes too much of it is read more slowly."""
        now = self.loop.time()
        self._allowance = min(BURST, self._allowance + (now - self._counted_at) * MESSAGES_PER_SECOND) - messages
        self._counted_at = now
        if self._allowance < 0 and not self.read_paused and not self.transport.is_closing():
            self.read_paused = True
            self.transport.pause_reading()
            self.loop.call_later(-self._allowance / MESSAGES_PER_SECOND, self._resume)

    def _resume(self) -> None:
        if self.read_paused and not self.transport.is_closing():
            self.read_paused = False
            self.transport.resume_reading()

    def write(self, frames: bytes) -> None:
        """Write whole frames as they are."""
        if not self.close_sent and not self.transport.is_closing():
            self.transport.write(frames)

    def pause_writing(self) -> None:
        """More waits than may."""
        super().pause_writing()
        self.full = True

    def resume_writing(self) -> None:
        """There is room again."""
        super().resume_writing()
        self.full = False
        self.drained()

    def end(self, code: int, reason: str = "") -> None:
        """Send a close frame; the connection is over a moment later at most."""
        self._sink = None
        if self.close_sent or self.transport.is_closing():
            return
        try:
            self.conn.send_close(code, reason)
        except InvalidState:
            self.transport.close()
            return
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self._resume()
        self.close_timer = self.loop.call_later(self.close_timeout, self.transport.abort)
        self._finish()

    def end_with(self, error: ServiceError) -> None:
        """Close for a reason that has a name."""
        self.end(close_code(error), error.code)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody is there any more."""
        super().connection_lost(exc)
        self._sink = None
        self._finish()

    def _finish(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)


def _nothing() -> None:
    pass
