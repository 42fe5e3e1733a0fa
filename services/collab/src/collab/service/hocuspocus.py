"""Hocuspocus on the same rooms: many documents on one socket, each behind its name and opened by its own token.

Wire format: @hocuspocus/common and @hocuspocus/server 4, `MessageReceiver.ts`, `ClientConnection.ts`.
"""

import asyncio
from typing import Final

from common.errors import ServiceError, UnauthorizedError

from ..domain import wire
from ..errors import TICKET_EXPIRED, FrameInvalidError, OverloadedError, close_code
from ..rooms import Guest, Member, Room, Socket
from .reception import Reception, Visit, document_of

MAX_DOCUMENTS: Final = 64
MAX_QUEUED_BYTES: Final = 1024 * 1024
"""Of all documents of a socket, while they are being opened (GHSA-xwhh-v746-pj9m)."""
AUTH_SECONDS: Final = 30.0
"""Until the first document is open."""
MAX_NAME_BYTES: Final = 256
FINAL: Final = {*range(4400, 4500), TICKET_EXPIRED}
"""These end a document and not its socket: a provider whose token has expired asks its app for another one."""
READ_WRITE, READ_ONLY = "read-write", "readonly"


class Channel:
    """One document on a socket: waiting for its token to be looked at, then a member of its room."""

    def __init__(self, name: bytes) -> None:
        self.prefix = wire.sized(name)
        self.name = name
        self.member: Member | None = None
        self.queue: list[bytes] = []
        self.over = asyncio.Event()


class HocuspocusSocket:
    """A socket that speaks Hocuspocus."""

    def __init__(self, socket: Socket, reception: Reception) -> None:
        self._socket = socket
        self._reception = reception
        self._channels: dict[bytes, Channel] = {}
        self._queued = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        """Until the client has left."""
        loop = asyncio.get_running_loop()
        timer = loop.call_later(AUTH_SECONDS, self._hurry)
        self._socket.drained = self._drained
        self._socket.attach(self.receive)
        try:
            await self._socket.ended()
        finally:
            timer.cancel()
            for channel in list(self._channels.values()):
                channel.over.set()
            await asyncio.gather(*self._tasks)

    def _hurry(self) -> None:
        if not any(channel.member for channel in self._channels.values()):
            self._socket.end_with(UnauthorizedError("no document was opened in time"))

    def _drained(self) -> None:
        for channel in self._channels.values():
            if channel.member:
                channel.member.drained()

    def receive(self, data: bytes) -> None:
        """A frame of the client."""
        if data == wire.PING:
            self._socket.write(wire.frame(wire.PONG))
            return
        try:
            name, at = wire.read_sized(data, 0)
            kind, _ = wire.read_uint(data, at)
            if not name or len(name) > MAX_NAME_BYTES:
                raise FrameInvalidError("not a document's name")
            self._hear(name, kind, data, at)
        except ServiceError as error:
            self._socket.end_with(error)

    def _hear(self, name: bytes, kind: int, data: bytes, at: int) -> None:
        channel = self._channels.get(name)
        if channel and channel.over.is_set():  # refused a moment ago: this is a new beginning
            channel = None
        if kind == wire.Hocuspocus.AUTH:
            self._authenticate(name, channel, _token(data, at))
        elif channel is None:
            self._send(wire.sized(name), wire.token_wanted_message())
        elif kind == wire.Hocuspocus.CLOSE:
            channel.over.set()
        elif kind == wire.Hocuspocus.STATELESS:
            return  # nobody here has anything to say to it
        elif channel.member is None:
            self._queue(channel, data)
        else:
            self._pass_on(channel.member, data, at)

    def _pass_on(self, member: Member, data: bytes, at: int) -> None:
        if data[at] == wire.Hocuspocus.SYNC_REPLY:
            data = b"\x00" + data[at + 1 :]
            at = 0
        member.receive(data if not at else data[at:])

    def _queue(self, channel: Channel, data: bytes) -> None:
        self._queued += len(data)
        if self._queued > MAX_QUEUED_BYTES:
            raise OverloadedError("too much was sent before the document was open")
        channel.queue.append(data)

    def _authenticate(self, name: bytes, channel: Channel | None, token: str) -> None:
        if channel is None:
            if len(self._tasks) >= MAX_DOCUMENTS:
                raise OverloadedError(f"a socket is for {MAX_DOCUMENTS} documents")
            channel = self._channels[name] = Channel(name)
            task = asyncio.get_running_loop().create_task(self._run(channel, token))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif channel.member:  # asked again for what it has
            self._send(channel.prefix, wire.authenticated_message(_scope(channel.member.guest)))

    async def _run(self, channel: Channel, token: str) -> None:
        try:
            await self._visit(channel, token)
        except ServiceError as error:
            self._refuse(channel, error)
        finally:
            if self._channels.get(channel.name) is channel:
                del self._channels[channel.name]
            self._queued -= sum(map(len, channel.queue))

    async def _visit(self, channel: Channel, token: str) -> None:
        reception = self._reception
        document_id = document_of(channel.name.partition(b"\0")[0].decode(errors="replace"))
        heard = reception.door.heard
        ticket, admission = await reception.door.enter(token, document_id)
        room = await reception.hall.room(document_id)
        guest = Guest(ticket.user_id, admission.name, admission.edits)
        visit = Visit(
            guest, document_id, lambda code, reason: self._end(channel, code, reason),
            lambda: self._send(channel.prefix, wire.authenticated_message(_scope(guest))),
        )  # fmt: skip
        with reception.registered(visit, ticket, admission):
            if reception.door.heard != heard and not await reception.may_stay(visit):
                return
            await self._stay(channel, room, guest)

    async def _stay(self, channel: Channel, room: Room, guest: Guest) -> None:
        member = Member(
            self._socket, room, guest, prefix=channel.prefix,
            heard=lambda durable: self._send(channel.prefix, wire.sync_status_message(durable)),
            end=lambda error: self._end(channel, close_code(error), error.code),
        )  # fmt: skip
        if channel.over.is_set():
            return
        self._send(channel.prefix, wire.authenticated_message(_scope(guest)))
        member.enter()
        channel.member = member
        try:
            queue, channel.queue = channel.queue, []
            self._queued -= sum(map(len, queue))
            for data in queue:
                self._pass_on(member, data, len(channel.prefix))
            await channel.over.wait()
        finally:
            channel.member = None
            member.leave()
            self._reception.hall.left(room)

    def _refuse(self, channel: Channel, error: ServiceError) -> None:
        self._end(channel, close_code(error), error.code)

    def _end(self, channel: Channel, code: int, reason: str) -> None:
        """What is final ends one document; what may be tried again ends the socket, since only that is tried again."""
        channel.over.set()
        if code in FINAL:
            self._send(channel.prefix, wire.permission_denied_message(reason))
            self._send(channel.prefix, wire.close_message(reason))
        else:
            self._socket.end(code, reason)

    def _send(self, prefix: bytes, message: bytes) -> None:
        self._socket.write(wire.frame(prefix + message))


def _scope(guest: Guest) -> str:
    return READ_WRITE if guest.edits else READ_ONLY


def _token(data: bytes, at: int) -> str:
    """The token of an auth message; newer providers say their version behind it."""
    _, at = wire.read_uint(data, at)
    step, at = wire.read_uint(data, at)
    if step != 0:
        raise FrameInvalidError("not a token")
    token, _ = wire.read_sized(data, at)
    return token.decode(errors="replace")
