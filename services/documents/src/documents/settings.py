"""Settings of documents, read from `DOCUMENTS_*` and `MDC_*`."""

from pathlib import Path

from pydantic import Field

from common.settings import CommonSettings


class Settings(CommonSettings):
    """What documents can be told."""

    service = "documents"

    objects_dir: Path = Field(description="Folder of the local object store (bodies above the inline limit)")
    content_limit_bytes: int = Field(
        default=10 * 1024 * 1024, description="Largest Markdown a document may have, however it was written"
    )
    inline_body_bytes: int = Field(default=16 * 1024, description="Bodies below this size live in PostgreSQL")
