"""Versions over HTTP: `ETag: "v7"`, `If-Match`, `If-None-Match` (RFC 9110 section 13) and `Prefer` (RFC 7240)."""

import re
from typing import Annotated

from fastapi import Depends, Header, Request

from common.errors import BadRequestError, PreconditionRequiredError

# Proxies weaken ETags (W/), JSON reads append who looked ("v7-…"): only the version counts.
_ETAG = re.compile(r'(?:W/)?"v(\d{1,18})(?:-[0-9a-f]+)?"')


class IfMatchInvalidError(BadRequestError):
    """`If-Match` must be one ETag this API gave out; `*` would mean "overwrite whatever is there"."""

    code = "if_match_invalid"
    title = "If-Match must be the ETag of the version you have seen"


def etag(version: int, viewer: str = "") -> str:
    """Entity tag of a version, for JSON reads also of who looks and with which rights."""
    return f'"v{version}-{viewer}"' if viewer else f'"v{version}"'


async def seen_version(if_match: Annotated[str | None, Header()] = None) -> int | None:
    """Version named by `If-Match`, None without the header. Raises `IfMatchInvalidError`."""
    if if_match is None:
        return None
    match = _ETAG.fullmatch(if_match.strip())
    if match is None:
        raise IfMatchInvalidError
    return int(match[1])


async def required_version(version: Annotated[int | None, Depends(seen_version)]) -> int:
    """Version named by `If-Match`. Raises `PreconditionRequiredError`."""
    if version is None:
        raise PreconditionRequiredError("send If-Match with the ETag of the version you have seen")
    return version


SeenVersion = Annotated[int | None, Depends(seen_version)]
RequiredVersion = Annotated[int, Depends(required_version)]


def not_modified(request: Request, tag: str) -> bool:
    """Whether `If-None-Match` names `tag` (weak comparison) or is `*`."""
    header = request.headers.get("if-none-match")
    return header is not None and not {tag, "*"}.isdisjoint(
        part.strip().removeprefix("W/") for part in header.split(",")
    )


def preferences(request: Request) -> dict[str, str]:
    """`Prefer` header as a mapping, lower case."""
    parts = (part.strip().partition("=") for part in request.headers.get("prefer", "").lower().split(","))
    return {name: value for name, _, value in parts if name}
