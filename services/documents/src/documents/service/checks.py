"""What must hold before a document is changed, as named errors."""

from collections.abc import Awaitable, Callable
from typing import Any

from common.access import Action, allows
from common.database import Row

from ..errors import (
    ActionForbiddenError,
    ContentNotTextError,
    TooManyWritersError,
    VersionAheadError,
    VersionStaleError,
)

Claim = Callable[[], Awaitable[None]]
"""First write of an effect with an `Idempotency-Key` (see `common.idempotency`)."""


def permitted(head: Row, action: Action) -> Row:
    """The head, if its role allows the action. Raises `ActionForbiddenError`."""
    if not allows(head["role"], action):
        raise ActionForbiddenError
    return head


def check_base(head: Row, base: int | None) -> None:
    """The base must be a version there has been. Raises `VersionAheadError`."""
    if base is not None and not 0 < base <= head["version"]:
        raise VersionAheadError(**versions_of(head))


def check_unchanged(head: Row, base: int | None) -> None:
    """The base must be the newest version. Raises `VersionStaleError`, `VersionAheadError`."""
    check_base(head, base)
    if base is not None and base != head["version"]:
        raise VersionStaleError(**versions_of(head))


def check_unmoved(head: Row, seen: Row) -> Row:
    """The workspace whose lock was taken must be the one it is in. Raises `TooManyWritersError`."""
    if head["workspace_id"] != seen["workspace_id"]:
        raise TooManyWritersError("it was taken to another workspace at the same moment")
    return head


def versions_of(head: Row) -> dict[str, Any]:
    """What a refused writer is told to go on from."""
    return {name: head[name] for name in ("version", "content_version") if name in head}


def checked_text(content: bytes) -> bytes:
    """The content, if it is text. Raises `ContentNotTextError`."""
    if b"\0" in content:
        raise ContentNotTextError("the content contains NUL")
    try:
        content.decode()
    except UnicodeDecodeError as error:
        raise ContentNotTextError(f"not UTF-8 at byte {error.start}") from error
    return content
