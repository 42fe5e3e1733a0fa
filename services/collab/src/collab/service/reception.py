"""Receives WebSocket clients: whoever has a good ticket is in a room until they leave, or until they may no more."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple
from uuid import UUID

from common.auth import Principal
from common.connections import ACCESS_LOST, DRAINING, SESSION_REVOKED, Connections, OpenConnection
from common.errors import ServiceError, UnavailableError

from ..domain.tickets import LIFE_SECONDS, URL_SECONDS, Ticket
from ..errors import (
    FORBIDDEN,
    REVOKED,
    TRY_AGAIN,
    DocumentNotFoundError,
    KindMismatchError,
)
from ..rooms import Guest, Hall, Member, Socket
from .door import Admission, Door

log = logging.getLogger(__name__)

RECHECK_SECONDS: Final = 30.0
_CODES: Final = {SESSION_REVOKED: REVOKED, ACCESS_LOST: FORBIDDEN, DRAINING: TRY_AGAIN}


class Visit(NamedTuple):
    """Somebody in a document."""

    guest: Guest
    document_id: UUID
    end: Callable[[int, str], None]
    changed: Callable[[], None]
    """Called when they may do more or less than before."""


class Reception:
    """The one place where sockets and rooms meet."""

    def __init__(self, door: Door, hall: Hall, connections: Connections) -> None:
        self.door = door
        self.hall = hall
        self._connections = connections
        self._visits: set[Visit] = set()

    async def visit(
        self, socket: Socket, document: str, in_url: str | None, spoken: str | None, kind: str | None
    ) -> None:
        """Serve a y-websocket client until it has left."""
        try:
            document_id = document_of(document)
            seconds = URL_SECONDS if in_url else LIFE_SECONDS
            heard = self.door.heard
            ticket, admission = await self.door.enter(in_url or spoken or "", document_id, seconds=seconds)
            if kind is not None and kind != admission.kind:
                raise KindMismatchError(f"the document is of kind {admission.kind}")
            room = await self.hall.room(document_id)
            guest = Guest(ticket.user_id, admission.name, admission.edits)
            member = Member(socket, room, guest)
        except ServiceError as error:
            log.info("a client was not let in", extra={"fields": {"code": error.code, "detail": error.detail}})
            socket.end_with(error)
            return
        visit = Visit(guest, document_id, socket.end, _nothing)
        with self.registered(visit, ticket, admission):
            if self.door.heard != heard and not await self.may_stay(visit):
                return
            try:
                member.enter()
            except ServiceError as error:
                socket.end_with(error)
                return
            socket.drained = member.drained
            socket.attach(member.receive)
            try:
                await socket.ended()
            finally:
                member.leave()
                self.hall.left(room)

    @contextmanager
    def registered(self, visit: Visit, ticket: Ticket, admission: Admission) -> Iterator[None]:
        """Hear of everything that may end a visit while the block runs."""
        principal = Principal(ticket.user_id, ticket.session_id, ticket.issued_at + LIFE_SECONDS)
        subjects = {visit.document_id, admission.root_id, admission.workspace_id}

        async def allowed() -> bool:
            return await self.may_stay(visit)

        def close(reason: str) -> None:
            visit.end(_CODES[reason], reason)

        with self._connections.registered(OpenConnection(principal, subjects, allowed, close)):
            self._visits.add(visit)
            try:
                yield
            finally:
                self._visits.discard(visit)

    async def may_stay(self, visit: Visit) -> bool:
        """After something was announced: whether a visit goes on, and as what."""
        try:
            stays = await self._look(visit)
        except UnavailableError:  # what was announced is not assumed; what may be so again is not final either
            visit.guest.edits = False
            visit.end(TRY_AGAIN, "rights_unconfirmed")
            return True
        return stays

    async def _look(self, visit: Visit) -> bool:
        edits = visit.guest.edits
        stays = await self.door.still(visit.guest, visit.document_id)
        if not stays:
            visit.end(FORBIDDEN, ACCESS_LOST)
        elif visit.guest.edits != edits:
            visit.changed()
        return stays

    async def run(self) -> None:
        """Look anew at everybody's role now and then: announcements may be lost, and roles may also rise."""
        while True:
            await asyncio.sleep(RECHECK_SECONDS)
            for visit in list(self._visits):
                try:
                    await self._look(visit)
                except ServiceError as error:  # nothing was announced: what held a moment ago holds
                    log.info("a role was not looked at", extra={"fields": {"cause": error.code}})


def document_of(name: str) -> UUID:
    """The document a client names. Raises `DocumentNotFoundError`."""
    try:
        return UUID(name)
    except ValueError as error:
        raise DocumentNotFoundError from error


def _nothing() -> None:
    pass
