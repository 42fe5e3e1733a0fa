"""WebSockets: always accepted first, since a browser cannot see why a handshake was refused, only a close code."""

from typing import Annotated

from fastapi import APIRouter, Query, WebSocket

from ..dependencies import Doorman
from ..rooms.sockets import SCOPE_KEY, Socket
from ..service import HocuspocusSocket

router = APIRouter()

OURS = "mdcreator"
"""Offer this subprotocol and the ticket as another one; or the ticket alone."""


@router.websocket("/v1/collab/ws/{document_id}")
async def open_document(
    websocket: WebSocket,
    document_id: str,
    doorman: Doorman,
    ticket: Annotated[str | None, Query()] = None,
    kind: Annotated[str | None, Query()] = None,
) -> None:
    """A y-websocket client: the ticket as `?ticket=` or as a subprotocol; `?kind=` if it has to be that one."""
    offered = websocket.scope["subprotocols"]
    await websocket.accept(OURS if OURS in offered else next(iter(offered), None))
    socket: Socket = websocket.scope[SCOPE_KEY]
    spoken = next((one for one in offered if one != OURS), None)
    await doorman.visit(socket, document_id, ticket, spoken, kind)


@router.websocket("/v1/collab/hocuspocus")
async def open_hocuspocus(websocket: WebSocket, doorman: Doorman) -> None:
    """A Hocuspocus client: documents are named by their ids, and tickets are their tokens."""
    await websocket.accept()
    await HocuspocusSocket(websocket.scope[SCOPE_KEY], doorman).serve()
