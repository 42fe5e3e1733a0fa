"""HTTP in, one service call, out."""

from fastapi import APIRouter

from . import assist, budgets, keys, native
from .native import NativePaths

router = APIRouter()
router.include_router(native.router)
router.include_router(budgets.router)
router.include_router(keys.router)
router.include_router(assist.router)
internal = APIRouter()

__all__ = ["NativePaths", "internal", "router"]
