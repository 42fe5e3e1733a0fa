"""Settings of files, read from `FILES_*` and `MDC_*`."""

from typing import Self

from pydantic import Field, SecretStr, field_validator, model_validator

from common.objects.settings import ObjectStoreSettings

GIB = 1024**3
SHORTEST_KEY = 32


class Settings(ObjectStoreSettings):
    """What files can be told."""

    service = "files"

    url_keys: SecretStr = Field(
        default=SecretStr(""),
        description="Keys that sign URLs of the local store, separated by commas: the first signs, all are honoured",
    )
    cloudfront_url: str | None = Field(default=None, description="Base URL of downloads; without, S3's own")
    cloudfront_key_pair_id: str = Field(default="", description="Public key CloudFront knows our signatures by")
    cloudfront_private_key: SecretStr = Field(default=SecretStr(""), description="PEM of the RSA key that signs")
    quota_bytes: int = Field(default=10 * GIB, ge=0, description="Bytes a workspace may store")
    upload_seconds: int = Field(default=24 * 3600, ge=60, description="Seconds an upload may take")
    orphan_hours: int = Field(default=7 * 24, ge=1, description="Hours until what is attached to nothing is deleted")
    unused_hours: int = Field(default=1, ge=0, description="Hours until bytes no file has are deleted")
    clamav_host: str | None = Field(default=None, description="ClamAV that scans files; without, none does")
    clamav_port: int = Field(default=3310, description="Its port")

    @field_validator("url_keys")
    @classmethod
    def _long_enough(cls, value: SecretStr) -> SecretStr:
        if any(0 < len(key) < SHORTEST_KEY for key in value.get_secret_value().split(",")):
            raise ValueError(f"every key has at least {SHORTEST_KEY} characters")
        return value

    @model_validator(mode="after")
    def _signs(self) -> Self:
        if self.object_store == "folder" and not self.url_keys.get_secret_value():
            raise ValueError("a folder as object store needs URL_KEYS")
        return self
