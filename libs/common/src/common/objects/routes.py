"""Serves the signed URLs of a local folder, as S3 and CloudFront do it on AWS. The URL is the authority: no bearer."""

import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from common.edge import HEAD
from common.errors import NotFoundError
from common.objects.errors import BodySizeMismatchError
from common.objects.folder_files import FolderFileStore, object_etag
from common.objects.links import Download, ObjectWrite, PartWrite
from common.objects.ranges import not_modified, wanted

_POLICY: Final = "default-src 'none'; img-src 'self'; media-src 'self'; object-src 'self'; style-src 'unsafe-inline'"
SANDBOX: Final = f"{_POLICY}; sandbox"
UNBOXED: Final = {"application/pdf": _POLICY}
"""Browsers show no PDF in a sandbox; it has no scripts of our origin."""
OFFER: Final = ("x-sendfile-type", "X-Accel-Redirect")
"""Set by a gateway that reaches the folder and sends objects itself, and never passed on from a client."""
SENT_OBJECTS: Final = "/_gateway/objects/"
"""Where such a gateway, and it alone, finds them."""


def routes(prefix: str, store: Callable[[Request], Any]) -> APIRouter:
    """The routes of `Links` with this base; where `store` gives none of a folder there are none."""
    router = APIRouter(prefix=prefix, include_in_schema=False)

    def folder(request: Request) -> FolderFileStore:
        found = store(request)
        if not isinstance(found, FolderFileStore):
            raise NotFoundError("no such route")
        return found

    @router.put("/{token}")
    async def write_object(token: str, request: Request) -> Response:
        files = folder(request)
        permit, _ = files.permit(token, "PUT")
        assert not isinstance(permit, Download)  # noqa: S101 - that is no PUT
        _check_length(request.headers.get("content-length"), permit)
        return Response(headers={"ETag": await files.receive(permit, _body(request))})

    @router.get("/{token}")
    async def read_object(token: str, request: Request) -> Response:
        files = folder(request)
        permit, expires = files.permit(token, "GET")
        assert isinstance(permit, Download)  # noqa: S101 - the only GET
        return await _download(files, permit, expires, request)

    return router


async def _body(request: Request) -> AsyncIterator[bytes]:
    async for piece in request.stream():
        yield piece


def _check_length(announced: str | None, permit: ObjectWrite | PartWrite) -> None:
    """Refuse before the body is sent, if its length is known."""
    if announced is not None and int(announced) != permit.size:
        raise BodySizeMismatchError(f"{announced} bytes, expected {permit.size}")


async def _download(files: FolderFileStore, permit: Download, expires: int, request: Request) -> Response:
    stored = await files.find(permit.key)
    if stored is None:
        raise NotFoundError("no such object")
    etag = object_etag(permit.key)
    headers = {
        "ETag": etag,
        "Cache-Control": f"private, max-age={max(0, expires - int(time.time()))}",
        "Accept-Ranges": "bytes",
    }
    if not_modified(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    resumed = request.headers.get("if-range", etag) == etag
    part = wanted(request.headers.get("range"), stored.size) if resumed else None
    headers |= {
        "Content-Type": permit.content_type,
        "Content-Disposition": permit.disposition,
        "Content-Security-Policy": UNBOXED.get(permit.content_type, SANDBOX),
    }
    head = bool(request.scope.get(HEAD))
    if not head and _gateway_sends(request, part):
        return Response(headers=headers | {"X-Accel-Redirect": SENT_OBJECTS + permit.key})
    start, stop = part or (0, stored.size)
    headers["Content-Length"] = str(stop - start)
    if part:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{stored.size}"
    status = 206 if part else 200
    if head:
        return Response(status_code=status, headers=headers)
    return StreamingResponse(files.read(permit.key, start, stop), status, headers)


def _gateway_sends(request: Request, part: tuple[int, int] | None) -> bool:
    """Whether the gateway offers to, and will understand the request as we do: a range we serve, or none at all."""
    name, offer = OFFER
    return request.headers.get(name) == offer and ("range" in request.headers) == (part is not None)
