"""Tickets: who may open which document, signed, so that no bearer token stands in a URL.

In a URL a ticket is good for a minute; as subprotocol or Hocuspocus token it may be shown again at reconnects.
"""

import hashlib
import hmac
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from typing import Final, NamedTuple
from uuid import UUID

from ..errors import TicketExpiredError, TicketInvalidError

URL_SECONDS: Final = 60
LIFE_SECONDS: Final = 3600
"""Not longer: the end of a session is announced for a little more than an hour (`common.revocations`)."""
_FORM: Final = b"\x01"
_FIELDS: Final = struct.Struct(">16s16s16sQ")
_SIGNATURE_BYTES: Final = 32
_LENGTH: Final = 4 * -(-(len(_FORM) + _FIELDS.size + _SIGNATURE_BYTES) // 3)


class Ticket(NamedTuple):
    """A user's permission, in one session, to ask for one document; whether they may is decided at the door."""

    user_id: UUID
    session_id: UUID
    document_id: UUID
    issued_at: int
    """Unix seconds."""

    def token(self, key: bytes) -> str:
        """The ticket, signed (HMAC-SHA256, RFC 2104); base64url without padding, so it may be a subprotocol."""
        ids = (id_.bytes for id_ in self[:3])
        text = _FORM + _FIELDS.pack(*ids, self.issued_at)
        return urlsafe_b64encode(text + _sign(text, key)).rstrip(b"=").decode()


def read_ticket(token: str, keys: Sequence[bytes], now: float, *, seconds: int) -> Ticket:
    """The ticket, if it is one and not older. Raises `TicketInvalidError`, `TicketExpiredError`."""
    try:
        data = urlsafe_b64decode(token[:_LENGTH].encode() + b"=" * (-len(token) % 4))
    except ValueError as error:
        raise TicketInvalidError from error
    text, signature = data[:-_SIGNATURE_BYTES], data[-_SIGNATURE_BYTES:]
    known = [hmac.compare_digest(_sign(text, key), signature) for key in keys]
    if not any(known) or not text.startswith(_FORM) or len(text) != len(_FORM) + _FIELDS.size:
        raise TicketInvalidError
    *ids, issued_at = _FIELDS.unpack(text[len(_FORM) :])
    if issued_at + seconds < now:
        raise TicketExpiredError
    user, session, document = (UUID(bytes=id_) for id_ in ids)
    return Ticket(user, session, document, issued_at)


def _sign(text: bytes, key: bytes) -> bytes:
    return hmac.digest(key, b"collab ticket\0" + text, hashlib.sha256)
