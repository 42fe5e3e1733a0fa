"""A stand-in for S3 on this machine (moto), for `OBJECT_STORE=s3 make up` and tests.

It keeps objects in memory, so that they end with it, takes every signature for good, and says of every upload in parts
that it was begun in 2010.
"""

import sys
from pathlib import Path

from deploy.local.backing import Program, answer
from deploy.local.machine import LOOPBACK, SYSTEM_PATH, own_folder

BUCKET, REGION = "mdcreator", "eu-central-1"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "stand-in", "AWS_SECRET_ACCESS_KEY": "stand-in"}


class StandIn:
    """The server, as `make up` and tests run it."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def prepare(self) -> None:
        own_folder(self.folder, None)

    def programs(self) -> list[Program]:
        root = str(Path(__file__).resolve().parents[2])
        environment = {"PATH": SYSTEM_PATH, "LANG": "C.UTF-8", "HOME": str(self.folder), "PYTHONPATH": root}
        argv = (sys.executable, "-m", "deploy.local.moto_server", str(self.port))
        return [Program("s3", argv, environment | CREDENTIALS)]

    def is_ready(self) -> bool:
        """Whether its bucket is there."""
        return b" 200 " in answer(self.port, b"HEAD /%b HTTP/1.0\r\n\r\n" % BUCKET.encode(), 13)

    def environment(self) -> dict[str, str]:
        """What services are told of it."""
        return CREDENTIALS | {
            "MDC_OBJECT_STORE": "s3",
            "MDC_S3_BUCKET": BUCKET,
            "MDC_S3_REGION": REGION,
            "MDC_AWS_ENDPOINT_URL": self.url,
        }
