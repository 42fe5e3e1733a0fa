"""Signed URLs of the local store: one request each, which whoever holds the URL may make until it expires."""

import hashlib
import hmac
import json
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Final

from common.objects.errors import UrlExpiredError, UrlInvalidError, UrlMethodError

_FORM: Final = b"\x01"
_SIGNATURE_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class ObjectWrite:
    """PUT of one object with these bytes; `sha256` in hexadecimal."""

    key: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class PartWrite:
    """PUT of one part of an upload."""

    key: str
    upload: str
    number: int
    size: int


@dataclass(frozen=True, slots=True)
class Download:
    """GET or HEAD of one object."""

    key: str
    content_type: str
    disposition: str


Permit = ObjectWrite | PartWrite | Download
_KINDS: Final[tuple[type[Permit], ...]] = (ObjectWrite, PartWrite, Download)
"""A token names its kind by the place here."""


@dataclass(frozen=True, slots=True)
class Links:
    """Makes and reads the URLs below `base_url`; the first key signs, all are honoured."""

    base_url: str
    keys: Sequence[bytes]

    def url(self, permit: Permit, seconds: int) -> str:
        """URL that is good for `seconds` from now."""
        return f"{self.base_url}/{self.token(permit, int(time.time()) + seconds)}"

    def token(self, permit: Permit, expires: int) -> str:
        """The permit and its end in Unix seconds, signed (HMAC-SHA256, RFC 2104); base64url without padding."""
        fields = [_KINDS.index(type(permit)), expires, *astuple(permit)]
        text = _FORM + json.dumps(fields, separators=(",", ":")).encode()
        return _encoded(text + _sign(text, self.keys[0]))

    def permit(self, token: str, method: str) -> tuple[Permit, int]:
        """What the token permits, and until when.

        Raises `UrlInvalidError`, `UrlExpiredError`, and `UrlMethodError` if it is not this method.
        """
        text = self._verified(token)
        kind, expires, *fields = json.loads(text[len(_FORM) :])
        if expires <= time.time():
            raise UrlExpiredError
        allowed = "GET, HEAD" if _KINDS[kind] is Download else "PUT"
        if method not in allowed.split(", "):
            raise UrlMethodError(allowed)
        return _KINDS[kind](*fields), expires

    def _verified(self, token: str) -> bytes:
        try:
            data = urlsafe_b64decode(token.encode() + b"=" * (-len(token) % 4))
        except ValueError as error:
            raise UrlInvalidError from error
        text, signature = data[:-_SIGNATURE_BYTES], data[-_SIGNATURE_BYTES:]
        known = [hmac.compare_digest(_sign(text, key), signature) for key in self.keys]
        if not any(known) or not text.startswith(_FORM) or _encoded(data) != token:  # decoding skips foreign characters
            raise UrlInvalidError
        return text


def _encoded(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _sign(text: bytes, key: bytes) -> bytes:
    return hmac.digest(key, b"object url\0" + text, hashlib.sha256)
