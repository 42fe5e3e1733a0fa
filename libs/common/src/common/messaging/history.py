"""`GET /internal/events`: what a service has told about one aggregate, for a consumer that misses some of it."""

from typing import Annotated, Any
from uuid import UUID

import orjson
from fastapi import APIRouter, Query, Request, Response

from common.client import InternalClient
from common.dependencies import internal_caller
from common.messaging.envelope import Envelope
from common.messaging.outbox import COLUMNS, envelope
from common.platform import Platform

MOST = 500

Version = Annotated[int, Query(ge=1, le=2**62)]


def routes(schema: str) -> APIRouter:
    """The internal route over the outbox tables of `schema`."""
    router = APIRouter(prefix="/internal", dependencies=[internal_caller()])
    statement = (
        f"SELECT {COLUMNS} FROM {schema}.event WHERE aggregate_id = %(aggregate)s "
        f"AND aggregate_version BETWEEN %(first)s AND %(last)s ORDER BY aggregate_version LIMIT {MOST}"
    )

    @router.get("/events", response_class=Response, responses={200: {"content": {"application/json": {}}}})
    async def list_events(
        aggregate: UUID, first: Annotated[Version, Query(alias="from")], last: Annotated[Version, Query(alias="to")],
        request: Request,
    ) -> Response:  # fmt: skip
        """Events of an aggregate by version, as envelopes; they are kept for 7 days, at most 500 come at once."""
        platform: Platform = request.app.state.platform
        async with platform.database.transaction() as transaction:
            rows = await transaction.all(statement, {"aggregate": aggregate, "first": first, "last": last})
        events = b",".join(envelope(row).encode() for row in rows)
        return Response(b'{"events":[' + events + b"]}", media_type="application/json")

    return router


async def fetch(client: InternalClient, producer: str, aggregate: UUID, first: int, last: int) -> list[Envelope]:
    """Ask the producer for events of an aggregate. Raises `PeerUnavailableError`."""
    wanted = {"aggregate": str(aggregate), "from": str(first), "to": str(last)}
    answer: Any = await client.get(producer, "/internal/events", wanted)
    return [Envelope.decode(orjson.dumps(event)) for event in answer["events"]]
