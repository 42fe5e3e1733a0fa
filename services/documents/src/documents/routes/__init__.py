"""HTTP in, one service call, out."""

from fastapi import APIRouter

from . import access, documents, folders
from .internal import router as internal

router = APIRouter()
router.include_router(documents.router)
router.include_router(folders.router)
for nodes in ("documents", "folders"):
    router.include_router(access.router, prefix=f"/v1/{nodes}/{{node_id}}")

__all__ = ["internal", "router"]
