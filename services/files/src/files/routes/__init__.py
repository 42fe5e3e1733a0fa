"""HTTP in, one service call, out."""

from fastapi import APIRouter

from . import attachments, context, files, objects, read_along, uploads

router = APIRouter()
router.include_router(objects.router)
router.include_router(uploads.router)
router.include_router(attachments.router)
router.include_router(files.router)
router.include_router(context.router)
internal = APIRouter()
internal.include_router(read_along.router)
