"""HTTP in, one service call, out."""

from fastapi import APIRouter

from common.dependencies import BEARER

from . import devices, feed, log

router = APIRouter(prefix="/v1/sync", tags=["sync"], dependencies=[BEARER])
router.include_router(devices.router)
router.include_router(feed.router)
router.include_router(log.router)
internal = APIRouter()
