"""HTTP in, one service call, out."""

from fastapi import APIRouter

from . import accounts, workspaces
from . import internal as internal_routes

router = APIRouter()
router.include_router(accounts.router)
router.include_router(workspaces.router)
internal = internal_routes.router
