"""`python -m deploy.local.moto_server PORT`: moto as the stand-in for S3, with its bucket (see `stand_in`)."""

import os
import sys
import threading
from collections.abc import Callable
from typing import Any

import boto3  # type: ignore[import-untyped]
from botocore.config import Config
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.s3.exceptions import NoSuchUpload
from moto.s3.models import S3Backend
from werkzeug.serving import make_server

from deploy.local.machine import LOOPBACK
from deploy.local.stand_in import BUCKET, CREDENTIALS, REGION

CORS = {
    "AllowedOrigins": ["*"],
    "AllowedMethods": ["GET", "HEAD", "PUT"],
    "AllowedHeaders": ["*"],
    "ExposeHeaders": ["ETag"],
}
"""As a bucket on AWS needs it for browsers."""


def knows_its_uploads(name: str) -> None:
    """As S3: an upload that is not known is `NoSuchUpload`, where moto answers with an internal error."""
    call: Callable[..., Any] = getattr(S3Backend, name)

    def known(self: Any, bucket: str, upload: str, *args: Any, **kwargs: Any) -> Any:
        if upload not in self.get_bucket(bucket).multiparts:
            raise NoSuchUpload(upload)
        return call(self, bucket, upload, *args, **kwargs)

    setattr(S3Backend, name, known)


def make_bucket(url: str) -> None:
    """The bucket, as open to browsers as one on AWS has to be; a fresh moto may fail its first request."""
    client = boto3.client("s3", region_name=REGION, endpoint_url=url, config=Config(retries={"total_max_attempts": 5}))
    client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    client.put_bucket_cors(Bucket=BUCKET, CORSConfiguration={"CORSRules": [CORS]})


def main() -> None:
    """Serve until ended."""
    os.environ.update(CREDENTIALS)
    port = int(sys.argv[1])
    for name in ("complete_multipart_upload", "upload_part", "list_parts"):
        knows_its_uploads(name)
    server = make_server(LOOPBACK, port, DomainDispatcherApplication(create_backend_app), threaded=True)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    make_bucket(f"http://{LOOPBACK}:{port}")
    serving.join()


if __name__ == "__main__":
    main()
