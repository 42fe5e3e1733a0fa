"""The built-in identity provider's mechanics: password strength and hashes, signing keys, access tokens."""

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from uuid import UUID

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from joserfc import jwt
from joserfc.jwk import Key, KeySet, RSAKey
from zxcvbn_rs_py import zxcvbn

from .errors import PasswordTooWeakError, TooManyPasswordsError

T = TypeVar("T")

MIN_STRENGTH = 3
STRENGTH_PREFIX = 100
_GLUE = re.compile(r"[\W_]+")
_HINT_WORD = re.compile(r"[^\W_]{3,}")
_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----", re.DOTALL)


class Passwords:
    """Argon2id (RFC 9106) on a bounded pool of threads; a full queue is an honest 503."""

    def __init__(self, threads: int, queue: int) -> None:
        self._hasher = PasswordHasher(time_cost=3, memory_cost=47_104, parallelism=1)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="argon2")
        self._room = queue
        self._decoy = self._hasher.hash("nobody's password")

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def hash(self, password: str, hints: list[str]) -> str:
        """Hash of a new password. Raises `PasswordTooWeakError`, `TooManyPasswordsError`."""
        await self._run(_refuse_weak, password, hints)
        return await self._run(self._hasher.hash, password)

    async def verify(self, password: str, password_hash: str | None) -> bool:
        """Whether they belong together; takes the same time when there is no hash. Raises `TooManyPasswordsError`."""
        right = await self._run(self._matches, password, self._decoy if password_hash is None else password_hash)
        return right and password_hash is not None

    def _matches(self, password: str, password_hash: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, function: Callable[..., T], *arguments: Any) -> T:
        if self._room <= 0:
            raise TooManyPasswordsError
        self._room -= 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)
        finally:
            self._room += 1


def _refuse_weak(password: str, hints: list[str]) -> None:
    """Zxcvbn (Wheeler, USENIX Security 2016) knows breached lists, keyboard walks, dates and the user's own name."""
    # Whole and word by word: "Ada Lovelace" is typed as "adalovelace1815", an address without its domain.
    words = [
        word for hint in hints for word in (hint, hint.replace("@", ""), _GLUE.sub("", hint), *_HINT_WORD.findall(hint))
    ]
    estimate = zxcvbn(password[:STRENGTH_PREFIX], words)
    if int(estimate.score) < MIN_STRENGTH:
        feedback = estimate.feedback
        warning = str(feedback.warning) if feedback and feedback.warning else "use more words, or less common ones"
        raise PasswordTooWeakError(warning)


class TokenIssuer:
    """Signs access tokens with the first key, publishes all."""

    def __init__(self, pem: str, *, issuer: str, audience: str, lifetime_seconds: int) -> None:
        self._keys: list[Key] = [_signing_key(match) for match in _PEM.findall(pem)]
        if not self._keys:
            raise ValueError("AUTH_GATEWAY_SIGNING_KEYS holds no PEM private key")
        self._issuer = issuer
        self._audience = audience
        self.lifetime_seconds = lifetime_seconds

    def issue(self, user_id: UUID, session_id: UUID, *, amr: list[str], email_verified: bool) -> str:
        """An RS256 access token (claims after RFC 9068)."""
        now = int(time.time())
        claims = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": str(user_id),
            "sid": str(session_id),
            "iat": now,
            "exp": now + self.lifetime_seconds,
            "amr": amr,
            "scope": "*",
            "email_verified": email_verified,
        }
        key = self._keys[0]
        return jwt.encode({"alg": "RS256", "typ": "at+jwt", "kid": key.kid}, claims, key, algorithms=["RS256"])

    def jwks(self) -> Mapping[str, Any]:
        """Public keys (RFC 7517)."""
        return KeySet(self._keys).as_dict(private=False)

    def discovery(self) -> Mapping[str, Any]:
        """OpenID Connect Discovery 1.0 document, as far as a verifier of our tokens needs it."""
        return {
            "issuer": self._issuer,
            "jwks_uri": f"{self._issuer}/.well-known/jwks.json",
            "response_types_supported": ["token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        }


def _signing_key(pem: str) -> RSAKey:
    key = RSAKey.import_key(pem, {"use": "sig", "alg": "RS256"})
    key.ensure_kid()
    return key
