"""Envelope encryption of own keys: AES-256-GCM under a data key, which a key that lies elsewhere wraps.

`Wrapper` is the port: a cloud's key service can take the place of keys from settings.
"""

import hashlib
import os
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from common.errors import UnavailableError

NONCE_BYTES: Final = 12
KEPT: Final = 1_000


class KeyUnreadableError(UnavailableError):
    """It was wrapped by a key we do not have, or was changed."""

    code = "own_key_unreadable"
    title = "The stored key cannot be read"


class Sealed(NamedTuple):
    """A secret, encrypted."""

    wrapped_key: bytes
    ciphertext: bytes


class Wrapper(Protocol):
    """Wraps data keys; `context` is bound in and has to be the same when it is unwrapped."""

    async def wrap(self, data_key: bytes, context: bytes) -> bytes:
        """The data key, wrapped."""
        ...

    async def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """The data key. Raises `KeyUnreadableError`."""
        ...


class LocalWrapper:
    """Wraps with keys from settings: the first one wraps, all unwrap."""

    def __init__(self, keys: Sequence[str]) -> None:
        if not all(len(key) >= 32 for key in keys):  # noqa: PLR2004
            raise ValueError("every key has at least 32 characters")
        self._keys = [AESGCM(hashlib.sha256(key.encode()).digest()) for key in keys]

    async def wrap(self, data_key: bytes, context: bytes) -> bytes:
        """See `Wrapper`."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._keys[0].encrypt(nonce, data_key, context)

    async def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """See `Wrapper`."""
        for key in self._keys:
            try:
                return key.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], context)
            except (InvalidTag, ValueError):
                continue
        raise KeyUnreadableError


class Keyring:
    """Seals and opens secrets; opened data keys are remembered, so that not every call unwraps one."""

    def __init__(self, wrapper: Wrapper) -> None:
        self._wrapper = wrapper
        self._known: OrderedDict[tuple[bytes, bytes], bytes] = OrderedDict()

    async def seal(self, secret: str, context: str) -> Sealed:
        """Encrypt under a new data key, for one owner and provider."""
        data_key, nonce, bound = AESGCM.generate_key(256), os.urandom(NONCE_BYTES), context.encode()
        wrapped = await self._wrapper.wrap(data_key, bound)
        return Sealed(wrapped, nonce + AESGCM(data_key).encrypt(nonce, secret.encode(), bound))

    async def open(self, sealed: Sealed, context: str) -> str:
        """The secret. Raises `KeyUnreadableError`."""
        bound = context.encode()
        place = (sealed.wrapped_key, bound)
        data_key = self._known.get(place)
        if data_key is None:
            data_key = self._known[place] = await self._wrapper.unwrap(sealed.wrapped_key, bound)
            if len(self._known) > KEPT:
                self._known.popitem(last=False)
        nonce, hidden = sealed.ciphertext[:NONCE_BYTES], sealed.ciphertext[NONCE_BYTES:]
        try:
            return AESGCM(data_key).decrypt(nonce, hidden, bound).decode()
        except (InvalidTag, ValueError):
            raise KeyUnreadableError from None
