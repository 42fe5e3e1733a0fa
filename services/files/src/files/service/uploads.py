"""Uploads: begun, resumed, completed once their bytes are what was announced."""

import asyncio
import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID, uuid4

from common.access import Action
from common.auth import Principal
from common.database import Database, Row, Transaction
from common.errors import ServiceError
from common.identifiers import uuid7
from common.objects import FileStore, ObjectMissingError, Part, Signed

from .. import domain
from ..errors import (
    ChecksumMismatchError,
    FileIdTakenError,
    FileTooLargeError,
    QuotaExceededError,
    SizeMismatchError,
    TypeMismatchError,
    UploadClosedError,
    UploadIncompleteError,
    UploadInProgressError,
    UploadNotFoundError,
)
from ..processing.media_types import is_compatible
from ..processing.sniff import media_type_of, settle
from ..repository import FileRepository, UploadRepository
from ..schemas import URLS_AT_ONCE, UploadCreate
from .claims import Claim
from .examination import Examiner
from .leases import LEASE_SECONDS, renewed
from .places import Places

log = logging.getLogger(__name__)

HEAD_BYTES: Final = 8192


@dataclass(frozen=True, slots=True)
class Terms:
    """What uploads may take."""

    quota_bytes: int
    open_seconds: int


@dataclass(frozen=True, slots=True)
class Begun:
    """A new upload with the first of its signed requests; or a file, if its bytes are here already."""

    file: Row | None = None
    upload: Row | None = None
    requests: Sequence[tuple[int, int, Signed]] = ()


SEND_SECONDS: Final = 3600
"""How long bytes can be sent to a URL, also after the upload it was for has ended."""


class UploadService:
    """Uploads of one caller, in the request's transaction."""

    def __init__(
        self, transaction: Transaction, places: Places, store: FileStore, terms: Terms, principal: Principal
    ) -> None:
        self._transaction = transaction
        self._uploads = UploadRepository(transaction)
        self._files = FileRepository(transaction, principal)
        self._places = places
        self._store = store
        self._terms = terms
        self._principal = principal

    async def begin(self, body: UploadCreate, claim: Claim) -> Begun:
        """Reserve the bytes and say where to send them; a file whose bytes the caller may read already is made at once.

        Raises `FileTooLargeError`, `QuotaExceededError`, `FileIdTakenError` and what `Places.require` raises.
        """
        if body.size > domain.LARGEST_BYTES:
            raise FileTooLargeError
        await self._places.require(body.workspace_id, body.document_id, Action.EDIT)
        sha256, file_id = bytes.fromhex(body.sha256), body.id or uuid7()
        if await self._files.same_bytes(body.workspace_id, sha256, body.size):
            await claim()
            return Begun(file=await self._files.create(_file(body, file_id, sha256), body.document_id))
        upload_id = uuid4()
        key = f"files/{body.workspace_id}/{upload_id}"
        store_upload = None
        if body.size > domain.SINGLE_BYTES:
            await self._transaction.release()
            store_upload = await self._store.begin(key)
        await claim()
        if body.id and await self._files.find(body.id):
            raise FileIdTakenError
        left = await self._uploads.reserve(body.workspace_id, body.size, self._terms.quota_bytes)
        if left is not None:
            raise QuotaExceededError(available=left)
        upload = await self._uploads.begin(
            {
                **_file(body, file_id, sha256), "id": upload_id, "file_id": file_id, "document_id": body.document_id,
                "user_id": self._principal.user_id, "media_type": body.content_type, "size": body.size,
                "object_key": key, "store_upload": store_upload,
                "part_size": domain.part_size(body.size) if store_upload else domain.SINGLE_BYTES,
            },
            self._terms.open_seconds,
        )  # fmt: skip
        numbers = range(1, min(URLS_AT_ONCE, domain.part_count(body.size, upload["part_size"])) + 1)
        return Begun(upload=upload, requests=await self._sign(upload, numbers))

    async def sign(self, upload_id: UUID, numbers: Sequence[int]) -> Sequence[tuple[int, int, Signed]]:
        """Requests for some parts. Raises `UploadNotFoundError`, `UploadClosedError`, `UploadIncompleteError`."""
        upload = await self._open(upload_id)
        await self._transaction.release()
        return await self._sign(upload, numbers)

    async def standing(self, upload_id: UUID) -> tuple[Row, Sequence[Part]]:
        """An upload and the parts that have arrived. Raises `UploadNotFoundError`."""
        upload = await self._uploads.find(upload_id)
        if upload is None:
            raise UploadNotFoundError
        await self._transaction.release()
        return upload, await received(self._store, upload)

    async def _open(self, upload_id: UUID) -> Row:
        upload = await self._uploads.find(upload_id)
        if upload is None:
            raise UploadNotFoundError
        if upload["state"] == "verifying":
            raise UploadInProgressError
        if upload["state"] != "open":
            raise UploadClosedError(state=upload["state"], problem=upload["problem"])
        return upload

    async def _sign(self, upload: Row, numbers: Sequence[int]) -> Sequence[tuple[int, int, Signed]]:
        lengths = domain.part_lengths(upload["size"], upload["part_size"]) or [0]
        if wrong := [number for number in numbers if number > len(lengths)]:
            raise UploadIncompleteError(f"there are {len(lengths)} parts", parts=wrong)
        left = (upload["expires_at"] - datetime.now(upload["expires_at"].tzinfo)).total_seconds()
        seconds = max(1, min(int(left), SEND_SECONDS))
        if upload["store_upload"] is None:
            signed = await self._store.sign_put(upload["object_key"], upload["size"], bytes(upload["sha256"]), seconds)
            return [(1, upload["size"], signed)]
        return [
            (
                number,
                lengths[number - 1],
                await self._store.sign_part(
                    upload["object_key"], upload["store_upload"], number, lengths[number - 1], seconds
                ),
            )
            for number in numbers
        ]


class CompletionService:
    """The end of an upload, in transactions of its own: bytes are verified while none is open."""

    def __init__(
        self,
        database: Database,
        store: FileStore,
        examiner: Examiner,
        places: Callable[[Transaction], Places],
        principal: Principal,
    ) -> None:
        self._database = database
        self._store = store
        self._examiner = examiner
        self._places = places
        self._principal = principal

    async def complete(self, upload_id: UUID) -> Row:
        """The file, once its bytes are verified; of an upload that is complete already, the same file again.

        Raises `UploadNotFoundError`, `UploadClosedError`, `UploadInProgressError`, `UploadIncompleteError` (it can go
        on), `SizeMismatchError`, `ChecksumMismatchError`, `TypeMismatchError` (it is over), and what `Places.require`
        and `FileRepository.create` raise.
        """
        holder = uuid4()
        upload = await self._lease(upload_id, holder)
        if upload["state"] == "completed":
            return await self._file_of(upload)
        try:
            async with renewed(lambda: self._renew(upload_id, holder)):
                media_type = await self._verified(upload)
            return await self._keep(upload, holder, media_type)
        except (SizeMismatchError, ChecksumMismatchError, TypeMismatchError, FileIdTakenError) as error:
            await self._end(upload, holder, error.code)
            raise
        except BaseException:
            await self._reopen(upload_id, holder)
            raise

    async def abort(self, upload_id: UUID) -> None:
        """End an upload and forget what arrived. Raises `UploadNotFoundError`, `UploadClosedError`."""
        async with self._database.transaction(self._principal.user_id) as transaction:
            uploads = UploadRepository(transaction)
            upload = await uploads.find(upload_id)
            if upload is None:
                raise UploadNotFoundError
            if not await uploads.abort(upload_id):
                if upload["state"] == "verifying":
                    raise UploadInProgressError
                raise UploadClosedError(state=upload["state"])
        await remove(self._store, upload["object_key"], upload["store_upload"])

    async def _lease(self, upload_id: UUID, holder: UUID) -> Row:
        async with self._database.transaction(self._principal.user_id) as transaction:
            uploads = UploadRepository(transaction)
            upload = await uploads.find(upload_id)
            if upload is None:
                raise UploadNotFoundError
            if upload["state"] == "completed":
                return upload
            await self._places(transaction).require(upload["workspace_id"], upload["document_id"], Action.EDIT)
            leased = await uploads.lease(upload_id, holder, LEASE_SECONDS)
        if leased:
            return leased
        if upload["state"] in ("open", "verifying"):
            raise UploadInProgressError
        raise UploadClosedError(state=upload["state"], problem=upload["problem"])

    async def _verified(self, upload: Row) -> str:
        """Media type of the bytes, which are those announced."""
        key, size = upload["object_key"], upload["size"]
        if upload["store_upload"]:
            await self._assemble(upload)
        found = await self._store.find(key)
        if found is None:
            raise UploadIncompleteError(parts=[1])
        if found.size != size:
            raise SizeMismatchError(size=found.size)
        digest, head = await _digest(self._store, key)
        if digest != bytes(upload["sha256"]):
            raise ChecksumMismatchError(sha256=digest.hex())
        media_type = media_type_of(head, upload["name"])
        if not is_compatible(upload["media_type"], media_type):
            raise TypeMismatchError(content_type=media_type)
        return settle(upload["media_type"], head, upload["name"])

    async def _assemble(self, upload: Row) -> None:
        try:
            parts = await self._store.parts(upload["object_key"], upload["store_upload"])
        except ObjectMissingError:  # a completion that was cut off had put it together
            return
        lengths = dict(enumerate(domain.part_lengths(upload["size"], upload["part_size"]), 1))
        arrived = {part.number: part.size for part in parts}
        if missing := [number for number, length in lengths.items() if arrived.get(number) != length]:
            raise UploadIncompleteError(parts=missing[:URLS_AT_ONCE])
        await self._store.complete(
            upload["object_key"], upload["store_upload"], [part for part in parts if part.number in lengths]
        )

    async def _keep(self, upload: Row, holder: UUID, media_type: str) -> Row:
        async with self._database.transaction(self._principal.user_id) as transaction:
            await self._places(transaction).require(upload["workspace_id"], upload["document_id"], Action.EDIT)
            files = FileRepository(transaction, self._principal)
            blob = {"object_key": upload["object_key"], "size": upload["size"], "media_type": media_type}
            sha256 = bytes(upload["sha256"])
            kept = await files.keep_bytes(upload["workspace_id"], sha256, blob)
            if not await UploadRepository(transaction).end(upload["id"], holder, "completed", keep=kept):
                raise UploadInProgressError
            file = {name: upload[name] for name in ("workspace_id", "name", "sha256")} | {"id": upload["file_id"]}
            row = await files.create(file, upload["document_id"])
        if kept:
            self._examiner.wake()
        else:
            await remove(self._store, upload["object_key"], None)
        return row

    async def _file_of(self, upload: Row) -> Row:
        async with self._database.transaction(self._principal.user_id) as transaction:
            row = await FileRepository(transaction, self._principal).find(upload["file_id"])
        if row is None:
            raise UploadClosedError(state=upload["state"])
        return row

    async def _renew(self, upload_id: UUID, holder: UUID) -> None:
        async with self._database.transaction(self._principal.user_id) as transaction:
            await UploadRepository(transaction).renew(upload_id, holder, LEASE_SECONDS)

    async def _end(self, upload: Row, holder: UUID, problem: str) -> None:
        async with self._database.transaction(self._principal.user_id) as transaction:
            ended = await UploadRepository(transaction).end(upload["id"], holder, "failed", problem)
        if ended:  # else whoever has the lease now decides
            await remove(self._store, upload["object_key"], upload["store_upload"])

    async def _reopen(self, upload_id: UUID, holder: UUID) -> None:
        try:
            async with self._database.transaction(self._principal.user_id) as transaction:
                await UploadRepository(transaction).reopen(upload_id, holder)
        except ServiceError as error:  # the lease runs out
            log.warning("an upload was not given back", extra={"fields": {"cause": str(error)}})


async def received(store: FileStore, upload: Row) -> Sequence[Part]:
    """Parts that have arrived, in order."""
    if upload["state"] not in ("open", "verifying"):
        return []
    if upload["store_upload"]:
        try:
            return await store.parts(upload["object_key"], upload["store_upload"])
        except ObjectMissingError:  # put together already
            return []
    found = await store.find(upload["object_key"])
    return [Part(1, found.size, "")] if found else []


async def remove(store: FileStore, key: str, store_upload: str | None, thumbnails: Sequence[int] = ()) -> bool:
    """Remove an object that is garbage now; if this fails, it is done when its row is due."""
    try:
        if store_upload:
            await store.abort(key, store_upload)
        for name in (key, *(domain.thumbnail_key(key, pixels) for pixels in thumbnails)):
            await store.delete(name)
    except ServiceError as error:
        log.info("garbage not removed yet", extra={"fields": {"cause": str(error)}})
        return False
    return True


async def _digest(store: FileStore, key: str) -> tuple[bytes, bytes]:
    """SHA-256 of an object, and its first bytes."""
    digest, head = hashlib.sha256(), b""
    async for chunk in store.read(key):
        if len(head) < HEAD_BYTES:
            head += chunk[: HEAD_BYTES - len(head)]
        await asyncio.to_thread(digest.update, chunk)
    return digest.digest(), head


def _file(body: UploadCreate, file_id: UUID, sha256: bytes) -> dict[str, Any]:
    return {"id": file_id, "workspace_id": body.workspace_id, "name": body.filename, "sha256": sha256}
