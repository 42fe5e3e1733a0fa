"""The verbs of live rooms: a room's text becomes the next version or is told what came before it, never merged."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from common.database import Row

from ..errors import (
    ContentHashMismatchError,
    DocumentNotFoundError,
    ExportReusedError,
    TooManyWritersError,
    VersionNotFoundError,
)
from ..repository import Exported, LiveRepository
from ..schemas.live import Export
from ..storage import Body, BodyStore
from .checks import checked_text

ATTEMPTS = 5
MOST_VERSIONS = 1_000
"""In the answer to an export whose base is not current."""
PAUSE_SECONDS = 2.0
"""Without a hold after each, which lasts a second at most: everybody else has two seconds of every three."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of an export: its version's numbers, or what is there instead (`version` is None)."""

    version: int | None
    content_version: int
    content: str | None = None
    versions: Sequence[Row] = ()


class LiveService:
    """Documents on behalf of live rooms, whose service has checked rights when their authors wrote."""

    def __init__(self, repository: LiveRepository, bodies: BodyStore) -> None:
        self._repository = repository
        self._bodies = bodies

    async def head(self, document_id: UUID, known: int, *, text: bool = True) -> tuple[Row, str | None]:
        """Head, trashed or not, and the exact text if it is wanted and `known` is not the current content version.

        Raises `DocumentNotFoundError`, `ObjectStoreUnavailableError`.
        """
        head = await self._repository.find(document_id, known)
        if head is None:
            raise DocumentNotFoundError
        return head, await self._text_of(head) if text and head["content_version"] != known else None

    async def versions(self, document_id: UUID, *, after: int, limit: int) -> tuple[int, list[Row]]:
        """Number of the newest content version, and those after number `after` in order.

        Raises `DocumentNotFoundError`.
        """
        newest = await self._repository.newest(document_id)
        if newest is None:
            raise DocumentNotFoundError
        return newest, await self._repository.versions(document_id, after=after, newest=newest, limit=limit)

    async def text(self, document_id: UUID, n: int) -> str:
        """Exact text of a content version. Raises `VersionNotFoundError`, `ObjectStoreUnavailableError`."""
        version = await self._repository.find_text(document_id, n)
        if version is None:
            raise VersionNotFoundError
        return await self._text_of(version)

    async def export(self, document_id: UUID, wanted: Export) -> Answer:
        """Make a room's text the next version if its base is current; else say what came since.

        Once for each place in a room's log, whatever is lost on the way; into the trash, too; by whoever the author
        is. Raises `DocumentNotFoundError`, `ContentHashMismatchError`, `ExportReusedError`, `DocumentTooLargeError`,
        `ObjectStoreUnavailableError`.
        """
        body = await self._bodies.prepare(checked_text(wanted.content.encode()))
        if body.sha256 != wanted.content_hash:
            raise ContentHashMismatchError
        place = (wanted.base, wanted.lineage, wanted.seq)
        export = Exported(document_id, *place, wanted.author_id, wanted.everybody())
        put_into: set[UUID] = set()
        for _ in range(ATTEMPTS):
            head = await self._repository.find_export(export)
            if head is None:
                raise DocumentNotFoundError
            if head["known_hash"] is not None:
                return _repeated(head, body)
            if head["content_version"] != export.base:
                return await self._refused(head, export)
            if saved := await self._save(export, body, head, put_into):
                return Answer(saved["version"], saved["content_version"])
        raise TooManyWritersError

    async def _save(self, export: Exported, body: Body, head: Row, put_into: set[UUID]) -> Row | None:
        """None if the document is no longer what `head` says."""
        if head["body_sha256"] == body.sha256:
            return await self._repository.keep_same(export, body)
        workspace_id = head["workspace_id"]
        if body.inline is None and workspace_id not in put_into:
            await self._bodies.put(workspace_id, body)
            put_into.add(workspace_id)
        return await self._repository.export(export, body, workspace_id)

    async def hold(self, document_id: UUID, seconds: float) -> tuple[datetime | None, datetime]:
        """Let other writers of content wait for `seconds` or until an export came through: until when, and the next.

        One that lasts is not extended, and the next may begin two seconds after it: None until then. Raises
        `DocumentNotFoundError`.
        """
        hold = await self._repository.hold(document_id, seconds=seconds, pause=PAUSE_SECONDS)
        hold = hold or await self._repository.find_hold(document_id)
        if hold is None:
            raise DocumentNotFoundError
        return (
            hold["held_until"] if hold["held"] else None,
            hold["held_until"] + timedelta(seconds=PAUSE_SECONDS),
        )

    async def _refused(self, head: Row, export: Exported) -> Answer:
        newest = head["content_version"]  # what is written meanwhile is not in its text either
        versions = await self._repository.versions(head["id"], after=export.base, newest=newest, limit=MOST_VERSIONS)
        return Answer(None, newest, await self._text_of(head), versions)

    async def _text_of(self, row: Row) -> str:
        return (await self._bodies.read(row)).decode()


def _repeated(head: Row, body: Body) -> Answer:
    if head["known_hash"] != body.sha256:
        raise ExportReusedError
    return Answer(head["known_version"], head["known_content_version"])
