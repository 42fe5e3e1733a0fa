"""HTTP and WebSockets in, one service call, out."""

from fastapi import APIRouter

from . import live, repair, sockets

router = APIRouter()
router.include_router(live.router)
router.include_router(sockets.router)
internal = APIRouter()
internal.include_router(repair.router)
