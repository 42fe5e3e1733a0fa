"""Settings of documents, read from `DOCUMENTS_*` and `MDC_*`."""

from pydantic import Field

from common.objects.settings import ObjectStoreSettings


class Settings(ObjectStoreSettings):
    """What documents can be told."""

    service = "documents"

    content_limit_bytes: int = Field(
        default=10 * 1024 * 1024, description="Largest Markdown a document may have, however it was written"
    )
    trash_days: int = Field(default=30, ge=1, description="Days until what is in the trash is deleted for good")
    inline_body_bytes: int = Field(default=16 * 1024, description="Bodies below this size live in PostgreSQL")
