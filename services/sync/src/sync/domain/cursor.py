"""Cursors: how far a device has got in each of its scopes, and the signed name of such a state.

Clients hold only the name. It is bound to user, device and database incarnation; what the caller may read is never
taken from it.
"""

import hashlib
import hmac
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple
from uuid import UUID

from common.access import RANKED

from ..errors import CursorInvalidError
from .log import Scope

_FORM: Final = b"\x01"
_FIELDS: Final = struct.Struct(">16s16s16s16sQ")
_SIGNATURE_BYTES: Final = 16
_LONGEST: Final = 200
_POSITION: Final = struct.Struct(">B16sQQ")
_ROOT, _DUE = 0x40, 0x80


class Cursor(NamedTuple):
    """Name of a stored state; `generation` counts the pulls it took, `nonce` tells apart answers to repeated ones."""

    user_id: UUID
    device_id: UUID
    epoch: UUID
    nonce: UUID
    generation: int

    def token(self, key: bytes) -> str:
        """The cursor, signed (HMAC-SHA256, RFC 2104, first 16 bytes)."""
        ids = (id_.bytes for id_ in self[:4])
        text = _FORM + _FIELDS.pack(*ids, self.generation)
        return urlsafe_b64encode(text + _sign(text, key)).rstrip(b"=").decode()


def read_cursor(token: str, keys: Sequence[bytes]) -> Cursor:
    """The cursor a token names; the first of `keys` signs, all are honoured. Raises `CursorInvalidError`."""
    try:
        data = urlsafe_b64decode(token[:_LONGEST] + "=" * (-len(token) % 4))
        if urlsafe_b64encode(data).rstrip(b"=").decode() != token:  # other spellings of the same bytes
            raise CursorInvalidError
    except ValueError as error:
        raise CursorInvalidError from error
    text, signature = data[:-_SIGNATURE_BYTES], data[-_SIGNATURE_BYTES:]
    known = [hmac.compare_digest(_sign(text, key), signature) for key in keys]
    if not any(known) or not text.startswith(_FORM) or len(text) != len(_FORM) + _FIELDS.size:
        raise CursorInvalidError
    *ids, generation = _FIELDS.unpack(text[len(_FORM) :])
    user, device, epoch, nonce = (UUID(bytes=id_) for id_ in ids)
    return Cursor(user, device, epoch, nonce, generation)


def _sign(text: bytes, key: bytes) -> bytes:
    return hmac.digest(key, text, hashlib.sha256)[:_SIGNATURE_BYTES]


class Position(NamedTuple):
    """How far a device has got in a scope."""

    seq: int = 0
    """The last change it was told of."""
    entered_at: int = 0
    """The scope's head when the device first saw it: what had gone by then was never told of."""
    role: str = "viewer"
    """What it was told its user may do there."""
    due: bool = False
    """Whether something was told since the last checksum."""


Positions = Mapping[Scope, Position]


def pack(positions: Positions) -> bytes:
    """Positions as they are stored: 33 bytes a scope."""
    return b"".join(
        _POSITION.pack(
            RANKED.index(at.role) | (_ROOT if scope.kind == "root" else 0) | (_DUE if at.due else 0),
            scope.id.bytes, at.seq, at.entered_at,
        )
        for scope, at in positions.items()
    )  # fmt: skip


def unpack(stored: bytes) -> dict[Scope, Position]:
    """Positions as they were packed."""
    found = {}
    for bits, id_, seq, entered_at in _POSITION.iter_unpack(stored):
        scope = Scope("root" if bits & _ROOT else "user", UUID(bytes=id_))
        found[scope] = Position(seq, entered_at, RANKED[bits & 0x0F], bool(bits & _DUE))
    return found
