"""HTTP in, one service call, out."""

from fastapi import APIRouter

from . import accounts, internal_routes, workspaces

router = APIRouter()
router.include_router(accounts.router)
router.include_router(workspaces.router)
internal = internal_routes.router
