"""Wiring: what this service holds, and the service object of one request."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request, WebSocket

from common.contracts.documents import DocumentPurged, DocumentState
from common.database import Database, Transaction
from common.dependencies import CurrentUser
from common.messaging import Envelope, read
from common.platform import Platform, redis_client

from .repository import LiveRepository, LogRepository
from .rooms import Fanout, Hall
from .service import Door, LiveService, Opener, PresenceService, Reception, Versions, Workshop
from .settings import Settings

LOG_CONNECTIONS = 4
LOG_SECONDS = 5.0
FINISH_SECONDS = 10.0
KEPT_DAYS = 7
"""How long updates stay that a verified state has made unnecessary."""


@dataclass(frozen=True, slots=True)
class Resources:
    """Process-wide parts beside the platform."""

    hall: Hall
    opener: Opener
    door: Door
    reception: Reception
    versions: Versions
    workshop: Workshop
    log: LogRepository


@asynccontextmanager
async def resources(platform: Platform) -> AsyncIterator[Resources]:
    """Rooms and their log, the door, the workshop."""
    platform.chores.append(f"forget_updates({KEPT_DAYS})")
    settings = platform.settings
    assert isinstance(settings, Settings)  # noqa: S101 - main.create() built it
    url = settings.worker_database_url.get_secret_value()
    database = Database(url, max_size=LOG_CONNECTIONS, timeout=LOG_SECONDS)
    await database.open()
    log, workshop = LogRepository(url, database), Workshop()
    redis_url = settings.redis_url.get_secret_value()
    publisher, channel = redis_client(redis_url, reconnects=1), redis_client(redis_url, reconnects=0)

    async def carry(document_id: UUID) -> bool:
        return await versions.carry(document_id)

    opener = Opener(database, log, platform.client, workshop, carry)
    hall = Hall(opener.open, log, Fanout(publisher, channel), lambda: platform.draining)
    versions = hall.watcher = Versions(hall, database, log, platform.client, workshop)
    keys = [key.encode() for key in settings.ticket_keys.get_secret_value().split(",")]
    door = Door(platform.database, database, platform.client, platform.access, platform.revocations, keys)
    reception = Reception(door, hall, platform.connections)
    platform.supervise("rooms", hall.run())
    platform.supervise("roles", reception.run())
    platform.supervise("versions", versions.run())
    HALLS.append(hall)
    try:
        yield Resources(hall, opener, door, reception, versions, workshop, log)
    finally:
        HALLS.remove(hall)
        try:
            await hall.commit.commit()
            await versions.finish(FINISH_SECONDS)
        finally:
            workshop.close()
            await log.close()
            await database.close()
            await publisher.aclose()
            await channel.aclose()


HALLS: list[Hall] = []
"""Whose rooms are told of versions, once they are known here."""


async def place(transaction: Transaction, events: Sequence[Envelope]) -> None:
    """Note where documents lie now, and that there is content the live one does not have."""
    told = [read(event, DocumentState) for event in events]
    heads = [{**one.model_dump(), "id": one.document_id} for one in told]
    documents = LiveRepository(transaction)
    behind = await documents.place(heads)
    await documents.purge([event.aggregate_id for event in events if event.type == DocumentPurged.type])

    async def tell() -> None:
        for hall in HALLS:
            for document_id in behind:
                hall.tell_version(document_id)

    if behind:
        transaction.after_commit.append(tell)


def _parts(request: Request) -> tuple[Platform, Resources]:
    return request.app.state.platform, request.app.state.resources


async def live_service(request: Request, user: CurrentUser) -> LiveService:
    """Live documents on behalf of the caller."""
    platform, own = _parts(request)
    return LiveService(own.hall, own.door, own.log, platform.client, own.workshop, user)


async def presence_service(request: Request, user: CurrentUser) -> PresenceService:
    """Who is where, as far as the caller may know."""
    platform, own = _parts(request)
    return PresenceService(platform.database, own.hall, own.door, user)


async def openings(request: Request) -> Opener:
    """Opens documents."""
    _, own = _parts(request)
    return own.opener


async def doorman(websocket: WebSocket) -> Reception:
    """Receives sockets."""
    own: Resources = websocket.app.state.resources
    return own.reception


Live = Annotated[LiveService, Depends(live_service)]
People = Annotated[PresenceService, Depends(presence_service)]
Openings = Annotated[Opener, Depends(openings)]
Doorman = Annotated[Reception, Depends(doorman)]
