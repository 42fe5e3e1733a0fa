"""HTTP in, one service call, out."""

from fastapi import APIRouter

from . import accounts, groups, invitations, members, workspaces
from . import internal as internal_routes

router = APIRouter()
router.include_router(accounts.router)
router.include_router(workspaces.router)
router.include_router(members.router)
router.include_router(invitations.router)
router.include_router(groups.router)
internal = internal_routes.router
