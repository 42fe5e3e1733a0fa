"""Settings of services that keep objects."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from common.settings import CommonSettings


class ObjectStoreSettings(CommonSettings):
    """Which store, and where."""

    object_store: Literal["folder", "s3"] = Field(default="folder", description="Where bytes are kept")
    objects_dir: Path | None = Field(default=None, description="Folder of the local object store")
    s3_bucket: str = Field(default="", description="S3: bucket")
    s3_region: str = Field(default="", description="S3: region")
    s3_kms_key_id: str | None = Field(default=None, description="S3: KMS key that encrypts what is stored")

    @model_validator(mode="after")
    def _one_store(self) -> Self:
        if self.object_store == "folder" and self.objects_dir is None:
            raise ValueError("a folder as object store needs OBJECTS_DIR")
        if self.object_store == "s3" and not (self.s3_bucket and self.s3_region):
            raise ValueError("S3 as object store needs S3_BUCKET and S3_REGION")
        return self
