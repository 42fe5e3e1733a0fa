"""A local folder as a store of files: uploads in parts, and what S3 does with a signed request done here."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from common.objects.durable import Draft, make_folders
from common.objects.errors import (
    BodySizeMismatchError,
    ChecksumMismatchError,
    ObjectExistsError,
    ObjectMissingError,
)
from common.objects.folder import FolderStore, in_thread
from common.objects.links import Download, Links, ObjectWrite, PartWrite, Permit
from common.objects.store import CHUNK_BYTES, Part, Served, Signed, Unfinished, checked, checked_number
from common.objects.uploads import Uploads, etag


class FolderFileStore(FolderStore):
    """`FileStore` on a folder; `common.objects.routes` serves its URLs."""

    def __init__(self, root: Path, links: Links) -> None:
        super().__init__(root)
        self._uploads = Uploads(root)
        self._links = links

    async def begin(self, key: str) -> str:
        """See `FileStore.begin`."""
        return await in_thread(self._uploads.begin, checked(key))

    async def parts(self, key: str, upload: str) -> list[Part]:
        """See `FileStore.parts`."""
        return await in_thread(self._uploads.parts, checked(key), upload)

    async def complete(self, key: str, upload: str, parts: Sequence[Part]) -> None:
        """See `FileStore.complete`."""
        await in_thread(self._uploads.complete, key, upload, parts, self.path(key))

    async def abort(self, key: str, upload: str) -> None:
        """See `FileStore.abort`."""
        await in_thread(self._uploads.abort, checked(key), upload)

    async def unfinished(self, prefix: str) -> AsyncIterator[Unfinished]:
        """See `FileStore.unfinished`."""
        for one in await in_thread(lambda: list(self._uploads.unfinished())):
            if one.key.startswith(prefix):
                yield one

    async def sign_put(self, key: str, size: int, sha256: bytes, seconds: int) -> Signed:
        """See `FileStore.sign_put`."""
        return Signed("PUT", self._links.url(ObjectWrite(checked(key), size, sha256.hex()), seconds), {})

    async def sign_part(self, key: str, upload: str, number: int, size: int, seconds: int) -> Signed:
        """See `FileStore.sign_part`."""
        permit = PartWrite(checked(key), upload, checked_number(number), size)
        return Signed("PUT", self._links.url(permit, seconds), {})

    async def sign_get(self, key: str, served: Served, seconds: int) -> str:
        """See `FileStore.sign_get`."""
        return self._links.url(Download(checked(key), served.content_type, served.disposition), seconds)

    def permit(self, token: str, method: str) -> tuple[Permit, int]:
        """See `Links.permit`."""
        return self._links.permit(token, method)

    async def receive(self, permit: ObjectWrite | PartWrite, body: AsyncIterator[bytes]) -> str:
        """Take the body of a signed request, durably and as a whole or not at all; return its ETag.

        Raises `BodySizeMismatchError`, `ChecksumMismatchError`, `ObjectExistsError`, `ObjectMissingError` (no such
        upload).
        """
        place = await in_thread(self._place, permit)
        draft = await in_thread(Draft, self._root)
        try:
            arriving = _Arriving(draft, permit)
            await arriving.take(body)
            return await in_thread(self._keep, arriving, place)
        except BaseException:
            await in_thread(draft.discard)
            raise

    def _place(self, permit: ObjectWrite | PartWrite) -> Path:
        if isinstance(permit, PartWrite):
            return self._uploads.part_path(permit.key, permit.upload, permit.number)
        path = self.path(permit.key)
        if path.exists():
            raise ObjectExistsError
        return path

    def _keep(self, arriving: "_Arriving", path: Path) -> str:
        with arriving.draft as draft:
            arriving.finish()
            if isinstance(arriving.permit, PartWrite):
                return _keep_part(draft, path)
            make_folders(self._root, path.parent)
            try:
                draft.publish(path)
            except FileExistsError as error:
                raise ObjectExistsError from error
            return object_etag(arriving.permit.key)


class _Arriving:
    """A body on its way into a draft: what has come is hashed and written while the next arrives."""

    def __init__(self, draft: Draft, permit: ObjectWrite | PartWrite) -> None:
        self.draft = draft
        self.permit = permit
        self._hash = hashlib.sha256() if isinstance(permit, ObjectWrite) else None
        self._pieces: list[bytes] = []

    async def take(self, body: AsyncIterator[bytes]) -> None:
        """Receive all of it and write all but the end. Raises `BodySizeMismatchError`."""
        received = waiting = 0
        writing: asyncio.Task[None] | None = None
        async for piece in body:
            received += len(piece)
            waiting += len(piece)
            if received > self.permit.size:
                break
            self._pieces.append(piece)
            if waiting >= CHUNK_BYTES:
                if writing:
                    await writing
                writing = asyncio.create_task(in_thread(self._write, self._pieces))
                self._pieces, waiting = [], 0
        if writing:
            await writing
        if received != self.permit.size:
            raise BodySizeMismatchError(f"{received} bytes or more, expected {self.permit.size}")

    def finish(self) -> None:
        """Write the end; blocks. Raises `ChecksumMismatchError`."""
        self._write(self._pieces)
        if isinstance(self.permit, ObjectWrite) and self._hash and self._hash.hexdigest() != self.permit.sha256:
            raise ChecksumMismatchError

    def _write(self, pieces: list[bytes]) -> None:
        if self._hash:
            for piece in pieces:
                self._hash.update(piece)
        self.draft.write(pieces)


def object_etag(key: str) -> str:
    """A strong one: an object never changes, so its key says which bytes they are."""
    return f'"{hashlib.sha256(key.encode()).hexdigest()[:32]}"'


def _keep_part(draft: Draft, path: Path) -> str:
    try:
        draft.replace(path)
        return etag(path)
    except FileNotFoundError as error:
        raise ObjectMissingError("the upload has ended meanwhile") from error
