"""S3 adapter: presigned requests that S3 itself holds clients to, SSE-KMS on every write, CloudFront in front."""

from base64 import b64encode
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlencode

import aioboto3
from aiohttp import ClientError as AiohttpError
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from common.objects.cloudfront import CloudFront
from common.objects.errors import (
    ObjectExistsError,
    ObjectMissingError,
    ObjectStoreUnavailableError,
    PartsMismatchError,
)
from common.objects.store import CHUNK_BYTES, Part, Served, Signed, Stored, Unfinished, checked, checked_number

LOST: Final = (BotoCoreError, AiohttpError, OSError, TimeoutError)
CONNECT_SECONDS: Final = 2
READ_SECONDS: Final = 20
ATTEMPTS: Final = 3
CONNECTIONS: Final = 32


@dataclass(frozen=True, slots=True)
class S3Place:
    """Where the bucket is; `endpoint_url` only for a stand-in of AWS."""

    bucket: str
    region: str
    endpoint_url: str | None = None
    kms_key_id: str | None = None
    """Encrypts every object (SSE-KMS with the bucket's data key); without it the bucket's default does."""


class S3Store:
    """`FileStore` on a bucket."""

    def __init__(self, client: Any, place: S3Place, cloudfront: CloudFront | None) -> None:
        self._client = client
        self._bucket = place.bucket
        self._encryption = _encryption(place.kms_key_id)
        self._cloudfront = cloudfront

    @classmethod
    @asynccontextmanager
    async def opened(cls, place: S3Place, cloudfront: CloudFront | None = None) -> AsyncIterator["S3Store"]:
        """Hold one client open; nothing is asked of S3 yet."""
        config = Config(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            retries={"total_max_attempts": ATTEMPTS},
            max_pool_connections=CONNECTIONS,
            signature_version="s3v4",
            s3={"addressing_style": "path" if place.endpoint_url else "virtual"},
        )
        client = aioboto3.Session().client(
            "s3", region_name=place.region, endpoint_url=place.endpoint_url, config=config
        )
        async with client as opened:
            yield cls(opened, place, cloudfront)

    async def put(self, key: str, data: bytes) -> None:
        """See `ObjectStore.put`."""
        write = self._object(key) | self._encryption | {"IfNoneMatch": "*", "ChecksumAlgorithm": "SHA256"}
        with suppress(ObjectExistsError), _s3_calls():
            await self._client.put_object(**write, Body=data)

    async def get(self, key: str) -> bytes:
        """See `ObjectStore.get`."""
        return b"".join([chunk async for chunk in self.read(key)])

    async def delete(self, key: str) -> None:
        """See `ObjectStore.delete`."""
        with _s3_calls():
            await self._client.delete_object(**self._object(key))

    async def find(self, key: str) -> Stored | None:
        """See `FileStore.find`."""
        try:
            with _s3_calls():
                head = await self._client.head_object(**self._object(key))
        except ObjectMissingError:
            return None
        return Stored(key, head["ContentLength"], head["LastModified"].timestamp())

    async def read(self, key: str, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        """See `FileStore.read`."""
        wanted = self._object(key)
        if start or stop is not None:
            wanted["Range"] = f"bytes={start}-{'' if stop is None else stop - 1}"
        try:
            with _s3_calls():
                answer = await self._client.get_object(**wanted)
        except _BehindTheEndError:
            return
        body = answer["Body"]
        async with body:
            with _s3_calls():
                while chunk := await _exactly(body, CHUNK_BYTES):
                    yield chunk

    async def listed(self, prefix: str) -> AsyncIterator[Stored]:
        """See `FileStore.listed`."""
        async for page in self._pages("list_objects_v2", prefix):
            for item in page.get("Contents", ()):
                yield Stored(item["Key"], item["Size"], item["LastModified"].timestamp())

    async def begin(self, key: str) -> str:
        """See `FileStore.begin`."""
        with _s3_calls():
            answer = await self._client.create_multipart_upload(**self._object(key), **self._encryption)
        upload: str = answer["UploadId"]
        return upload

    async def parts(self, key: str, upload: str) -> list[Part]:
        """See `FileStore.parts`."""
        pages = self._client.get_paginator("list_parts").paginate(**self._upload(key, upload))
        with _s3_calls():
            found = [item async for page in pages for item in page.get("Parts", ())]
        return [Part(item["PartNumber"], item["Size"], item["ETag"]) for item in found]

    async def complete(self, key: str, upload: str, parts: Sequence[Part]) -> None:
        """See `FileStore.complete`."""
        named = [{"PartNumber": part.number, "ETag": part.etag} for part in parts]
        try:
            with _s3_calls():
                await self._client.complete_multipart_upload(
                    **self._upload(key, upload), MultipartUpload={"Parts": named}, IfNoneMatch="*"
                )
        except ObjectExistsError:
            await self.abort(key, upload)
        except ObjectMissingError:  # completed by a call whose answer was lost
            if await self.find(key) is None:
                raise

    async def abort(self, key: str, upload: str) -> None:
        """See `FileStore.abort`; a part that is being received may stay until the bucket's lifecycle rule ends it."""
        with suppress(ObjectMissingError), _s3_calls():
            await self._client.abort_multipart_upload(**self._upload(key, upload))

    async def unfinished(self, prefix: str) -> AsyncIterator[Unfinished]:
        """See `FileStore.unfinished`."""
        async for page in self._pages("list_multipart_uploads", prefix):
            for item in page.get("Uploads", ()):
                yield Unfinished(item["Key"], item["UploadId"], item["Initiated"].timestamp())

    async def sign_put(self, key: str, size: int, sha256: bytes, seconds: int) -> Signed:
        """See `FileStore.sign_put`; S3 refuses a body of another size (403), hash (400) and a second write (412)."""
        checksum = b64encode(sha256).decode()
        write = self._object(key) | self._encryption
        write |= {"ContentLength": size, "ChecksumSHA256": checksum, "IfNoneMatch": "*"}
        headers = {"x-amz-checksum-sha256": checksum, "If-None-Match": "*", **_encryption_headers(self._encryption)}
        return Signed("PUT", await self._presigned("put_object", write, seconds), headers)

    async def sign_part(self, key: str, upload: str, number: int, size: int, seconds: int) -> Signed:
        """See `FileStore.sign_part`.

        A checksum cannot be demanded without knowing it: S3 takes no `x-amz-*` header that was not signed with its
        value. So a part's bytes are held to their size here, and to the file's SHA-256 by whoever reads the object.
        """
        write = self._upload(key, upload) | {"PartNumber": checked_number(number), "ContentLength": size}
        return Signed("PUT", await self._presigned("upload_part", write, seconds), {})

    async def sign_get(self, key: str, served: Served, seconds: int) -> str:
        """See `FileStore.sign_get`."""
        answer = {
            "response-content-type": served.content_type,
            "response-content-disposition": served.disposition,
            "response-cache-control": f"private, max-age={seconds}",
        }
        if self._cloudfront:
            return await self._cloudfront.url(checked(key), urlencode(answer, quote_via=quote), seconds)
        named = {_member(name): value for name, value in answer.items()}
        return await self._presigned("get_object", self._object(key) | named, seconds)

    async def _presigned(self, operation: str, parameters: dict[str, Any], seconds: int) -> str:
        with _s3_calls():
            url: str = await self._client.generate_presigned_url(operation, parameters, seconds)
        return url

    def _object(self, key: str) -> dict[str, Any]:
        return {"Bucket": self._bucket, "Key": checked(key)}

    def _upload(self, key: str, upload: str) -> dict[str, Any]:
        return self._object(key) | {"UploadId": upload}

    async def _pages(self, operation: str, prefix: str) -> AsyncIterator[dict[str, Any]]:
        with _s3_calls():
            async for page in self._client.get_paginator(operation).paginate(Bucket=self._bucket, Prefix=prefix):
                yield page


class _BehindTheEndError(Exception):
    """S3 has no such range."""


@contextmanager
def _s3_calls() -> Iterator[None]:
    """Name what S3 says; whatever is not the caller's doing is `ObjectStoreUnavailableError`."""
    try:
        yield
    except ClientError as error:
        code = error.response["Error"]["Code"]
        raise _NAMED.get(code, ObjectStoreUnavailableError)(f"S3: {code}") from error
    except LOST as error:
        raise ObjectStoreUnavailableError(f"S3: {type(error).__name__}") from error


_NAMED: Final[dict[str, type[Exception]]] = {
    **dict.fromkeys(("NoSuchKey", "NoSuchUpload", "404"), ObjectMissingError),
    **dict.fromkeys(("InvalidPart", "InvalidPartOrder", "EntityTooSmall", "MalformedXML"), PartsMismatchError),
    "PreconditionFailed": ObjectExistsError,
    "InvalidRange": _BehindTheEndError,
}


async def _exactly(body: Any, size: int) -> bytes:
    """As many bytes, or what is left: a read gives what one packet brought."""
    pieces, missing = [], size
    while missing and (piece := await body.read(missing)):
        pieces.append(piece)
        missing -= len(piece)
    return b"".join(pieces)


def _member(header: str) -> str:
    """`response-content-type` -> `ResponseContentType`, as the client's API has it."""
    return header.title().replace("-", "")


def _encryption(kms_key_id: str | None) -> dict[str, Any]:
    if kms_key_id is None:
        return {}
    return {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key_id, "BucketKeyEnabled": True}


def _encryption_headers(encryption: dict[str, Any]) -> dict[str, str]:
    if not encryption:
        return {}
    prefix = "x-amz-server-side-encryption"
    return {
        prefix: encryption["ServerSideEncryption"],
        f"{prefix}-aws-kms-key-id": encryption["SSEKMSKeyId"],
        f"{prefix}-bucket-key-enabled": "true",
    }
