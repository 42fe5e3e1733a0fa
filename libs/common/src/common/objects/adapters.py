"""Which object store it is: a local folder, or S3."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

from common.objects.folder_files import FolderFileStore
from common.objects.links import Links
from common.objects.store import FileStore

Kind = Literal["folder", "s3"]


@asynccontextmanager
async def open_store(
    kind: Kind,
    *,
    folder: Path | None = None,
    signed_base_url: str = "",
    url_keys: Sequence[bytes] = (),
    bucket: str = "",
    region: str = "",
    endpoint_url: str | None = None,
    kms_key_id: str | None = None,
    cloudfront_url: str | None = None,
    cloudfront_key_pair_id: str = "",
    cloudfront_private_key: str = "",
) -> AsyncIterator[FileStore]:
    """The store these settings name, until the context ends. Only its own client library is loaded.

    `signed_base_url` is where `common.objects.routes` are reached from outside; without `url_keys` a folder signs
    nothing.
    """
    if kind == "s3":
        from common.objects.cloudfront import CloudFront  # noqa: PLC0415
        from common.objects.s3 import S3Place, S3Store  # noqa: PLC0415

        cloudfront = (
            CloudFront(cloudfront_url, cloudfront_key_pair_id, cloudfront_private_key) if cloudfront_url else None
        )
        async with S3Store.opened(S3Place(bucket, region, endpoint_url, kms_key_id), cloudfront) as store:
            yield store
    elif folder is None:
        raise ValueError("the folder of the object store is not named")
    else:
        yield FolderFileStore(folder, Links(signed_base_url, url_keys))
