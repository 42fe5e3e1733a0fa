"""Who is calling: access tokens (RFC 9068 style RS256 JWT), service assertions, the set of revocations.

Every service verifies locally against the gateway's JWKS; no call is made on the request path.
"""

import asyncio
import hashlib
import json
import logging
import time
from base64 import urlsafe_b64decode
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, OKPKey

from common.errors import ForbiddenError, NotFoundError, UnauthorizedError, UnavailableError

log = logging.getLogger(__name__)

CLOCK_SKEW_SECONDS = 5
ASSERTION_SECONDS = 60
VERIFIED_TOKENS_KEPT = 10_000


class TokenInvalidError(UnauthorizedError):
    """Signature, issuer, audience, times or shape of the access token are wrong."""

    code = "token_invalid"
    title = "The access token is not valid"


class TokenExpiredError(UnauthorizedError):
    """The access token has expired: refresh it."""

    code = "token_expired"
    title = "The access token has expired"


class SessionRevokedError(UnauthorizedError):
    """The session behind the token was ended."""

    code = "session_revoked"
    title = "The session has been ended"


class KeysUnavailableError(UnavailableError):
    """No verification keys could be had yet, so nobody can be told apart: 503, never 401."""

    code = "keys_unavailable"
    title = "Verification keys are not available"


class CallerNotAllowedError(ForbiddenError):
    """This service may not call this internal route."""

    code = "caller_not_allowed"


@dataclass(frozen=True, slots=True)
class Principal:
    """The verified user behind a request."""

    user_id: UUID
    session_id: UUID
    expires_at: int
    amr: tuple[str, ...] = ("pwd",)
    scope: str = ""
    email_verified: bool = False
    device_id: UUID | None = None
    """The device whose operation `op_id` is carried out; None for what comes by plain requests."""
    op_id: UUID | None = None


class Keys:
    """The gateway's public keys: cached, refetched with back-off on an unknown `kid`, last set kept on disk."""

    def __init__(self, fetch: Callable[[], Awaitable[Mapping[str, Any]]], kept_at: Path) -> None:
        self._fetch = fetch
        self._kept_at = kept_at
        self._keys: KeySet | None = None
        self._next_fetch = 0.0
        self._backoff = 0.5
        self._asked_in_vain = True
        self._lock = asyncio.Lock()
        try:
            self._keys = KeySet.import_key_set(json.loads(kept_at.read_text()))
        except FileNotFoundError:
            log.info("no JWKS kept from earlier")
        except (OSError, ValueError, JoseError) as error:
            log.warning("kept JWKS not readable", extra={"fields": {"cause": repr(error)}})

    async def find(self, kid: str) -> KeySet:
        """Key set holding `kid`. Raises `TokenInvalidError` if the issuer has no such key, else `KeysUnavailableError`.

        A token of a key published while the issuer could not be asked must not sign its user out.
        """
        if not self._has(kid):
            await self.refresh()
        if self._keys is not None and self._has(kid):
            return self._keys
        if self._asked_in_vain:
            raise KeysUnavailableError
        raise TokenInvalidError("unknown key id")

    @property
    def asked(self) -> bool:
        """Whether the issuer answered when it was last asked."""
        return not self._asked_in_vain

    def _has(self, kid: str) -> bool:
        return self._keys is not None and any(key.kid == kid for key in self._keys.keys)

    async def refresh(self) -> None:
        """Fetch the JWKS unless it was asked for moments ago; a failure keeps the last one."""
        async with self._lock:
            if time.monotonic() < self._next_fetch:
                return
            try:
                document = await self._fetch()
                self._keys = KeySet.import_key_set(dict(document))  # type: ignore[arg-type]
            except (UnavailableError, NotFoundError, JoseError, ValueError) as error:
                log.warning("JWKS not refreshed", extra={"fields": {"cause": str(error)}})
                self._asked_in_vain = True
                self._backoff = min(self._backoff * 2, 30.0)
                self._next_fetch = time.monotonic() + (self._backoff if self._keys else 0.5)
                return
            self._asked_in_vain = False
            self._backoff = 0.5
            self._next_fetch = time.monotonic() + 1.0
            await asyncio.to_thread(_write_atomically, self._kept_at, json.dumps(document))


def _write_atomically(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    temporary.write_text(text)
    temporary.replace(path)


class Revocations:
    """What must be refused although its token or projection still looks good.

    Entries are strings, fed by `common.revocations`:
    `session:<session>`: its tokens are refused;
    `member:<workspace>:<user>:<version>`, `group:<group>:<user>:<version>`: memberships below this version,
    `workspace:<workspace>:<version>`, `root:<workspace>:<root>:<version>`: workspaces and access roots, and
    `node:<folder or document>:<version>`: placements of one under a root, are too old to decide by.
    """

    def __init__(self) -> None:
        self._expires: dict[str, float] = {}
        self._sessions: set[UUID] = set()
        self._users: dict[UUID, dict[UUID, int]] = {}
        self._root_workspaces: dict[UUID, UUID] = {}
        self.workspaces: dict[UUID, int] = {}
        """Workspace -> lowest version of it that may decide."""
        self.roots: dict[UUID, int] = {}
        """Access root -> lowest version of it that may decide."""
        self.nodes: dict[UUID, int] = {}
        """Folder or document -> lowest version of it whose placement may decide."""
        self.changes = 0
        """How many announcements about workspaces and roots were taken note of."""
        self.listeners: list[Callable[[str], None]] = []
        """Called with every new entry; must not block."""

    def add(self, entry: str, expires_at: float) -> None:
        """Take note of an entry until `expires_at` (Unix seconds); kinds a later release may add are skipped."""
        new = entry not in self._expires
        if new and not self._take(entry):
            log.warning("revocation not understood", extra={"fields": {"entry": entry[:200]}})
            return
        self._expires[entry] = expires_at
        if new:
            for listener in self.listeners:
                listener(entry)

    def _take(self, entry: str) -> bool:
        try:
            match entry.split(":"):
                case ["session", session]:
                    self._sessions.add(UUID(session))
                case ["member" | "group", of, user, version]:
                    _lift(self._users.setdefault(UUID(user), {}), of, version)
                case ["workspace", workspace, version]:
                    _lift(self.workspaces, workspace, version)
                    self.changes += 1
                case ["root", workspace, root, version]:
                    self._root_workspaces[UUID(root)] = UUID(workspace)
                    _lift(self.roots, root, version)
                    self.changes += 1
                case ["node", node, version]:
                    _lift(self.nodes, node, version)
                case _:
                    return False
        except ValueError:
            return False
        return True

    def forget_expired(self, now: float) -> None:
        """Drop what no live token or projection can contradict any more."""
        for entry in [entry for entry, expiry in self._expires.items() if expiry < now]:
            del self._expires[entry]
            kind, *ids = entry.split(":")
            match kind:
                case "session":
                    self._sessions.discard(UUID(ids[0]))
                case "member" | "group":
                    user = UUID(ids[1])
                    _drop(self._users.get(user, {}), ids[0], ids[2])
                    if not self._users.get(user):
                        self._users.pop(user, None)
                case "workspace" | "node":
                    _drop(self.workspaces if kind == "workspace" else self.nodes, *ids)
                case "root":
                    _drop(self.roots, *ids[1:])
                    if UUID(ids[1]) not in self.roots:
                        self._root_workspaces.pop(UUID(ids[1]), None)

    def session_ended(self, session_id: UUID) -> bool:
        """Whether tokens of this session are refused."""
        return session_id in self._sessions

    def versions_of(self, user_id: UUID) -> Mapping[UUID, int]:
        """Workspace or group id -> lowest version of this user's membership there that may decide."""
        return self._users.get(user_id, {})

    def workspace_of(self, root_id: UUID) -> UUID | None:
        """The workspace of an announced access root."""
        return self._root_workspaces.get(root_id)


def _lift(known: dict[UUID, int], of: str, version: str) -> None:
    id_ = UUID(of)
    known[id_] = max(known.get(id_, 0), int(version))


def _drop(known: dict[UUID, int], of: str, version: str) -> None:
    if known.get(UUID(of)) == int(version):
        del known[UUID(of)]


class Authenticator:
    """Verifies access tokens; a token's signature is checked once and remembered until it expires."""

    algorithms: ClassVar[list[str]] = ["RS256"]

    def __init__(self, keys: Keys, revocations: Revocations, *, issuer: str, audience: str) -> None:
        self._keys = keys
        self._revocations = revocations
        self._issuer = issuer
        self._audience = audience
        self._verified: dict[str, Principal] = {}

    async def authenticate(self, token: str) -> Principal:
        """The principal of a bearer token. Raises `TokenInvalidError`, `TokenExpiredError`, `SessionRevokedError`."""
        principal = self._verified.get(token)
        if principal is None:
            principal = await self._verify(token)
            if len(self._verified) >= VERIFIED_TOKENS_KEPT:
                self._verified.clear()
            self._verified[token] = principal
        if principal.expires_at < time.time() - CLOCK_SKEW_SECONDS:
            self._verified.pop(token, None)
            raise TokenExpiredError
        if self._revocations.session_ended(principal.session_id):
            raise SessionRevokedError
        return principal

    async def _verify(self, token: str) -> Principal:
        keys = await self._keys.find(_key_id(token))
        try:
            claims = jwt.decode(token, keys, algorithms=self.algorithms).claims
            if claims["iss"] != self._issuer or claims["aud"] != self._audience:
                raise TokenInvalidError("wrong issuer or audience")
            return Principal(
                user_id=UUID(claims["sub"]),
                session_id=UUID(claims["sid"]),
                expires_at=int(claims["exp"]),
                amr=tuple(claims["amr"]),
                scope=str(claims["scope"]),
                email_verified=bool(claims["email_verified"]),
            )
        except (JoseError, KeyError, ValueError, TypeError, AttributeError) as error:
            raise TokenInvalidError from error


def _key_id(token: str) -> str:
    segment = token.partition(".")[0]
    try:
        header = json.loads(urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
        algorithm, kid = header["alg"], header["kid"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise TokenInvalidError from error
    if algorithm not in Authenticator.algorithms or not isinstance(kid, str):
        raise TokenInvalidError("unexpected signature algorithm or key id")
    return kid


class ServiceIdentity:
    """This service's own key: signs 60 s assertions naming audience and acting user, verifies those of others."""

    def __init__(self, service: str, private_jwk: str, public_jwks: Mapping[str, Any]) -> None:
        self._service = service
        self._private = OKPKey.import_key(json.loads(private_jwk))
        self._public = KeySet.import_key_set(dict(public_jwks))  # type: ignore[arg-type]

    def assertion(self, audience: str, acting_user: UUID | None = None) -> str:
        """Signed claim "I am this service, calling `audience`", valid for 60 s (RFC 7523 style)."""
        now = int(time.time())
        claims = {"iss": self._service, "aud": audience, "iat": now, "exp": now + ASSERTION_SECONDS}
        if acting_user:
            claims["act"] = str(acting_user)
        return jwt.encode({"alg": "Ed25519", "kid": self._service}, claims, self._private, algorithms=["Ed25519"])

    def verify(self, assertion: str) -> str:
        """Name of the calling service. Raises `TokenInvalidError`."""
        try:
            token = jwt.decode(assertion, self._public, algorithms=["Ed25519"])
            claims = token.claims
            issued, expires = int(claims["iat"]), int(claims["exp"])
            now = time.time()
            fresh = expires - issued <= ASSERTION_SECONDS and issued <= now + CLOCK_SKEW_SECONDS
            if claims["aud"] != self._service or claims["iss"] != token.header["kid"] or not fresh:
                raise TokenInvalidError("not an assertion for this service")
            if expires < now - CLOCK_SKEW_SECONDS:
                raise TokenExpiredError
            return str(claims["iss"])
        except (JoseError, KeyError, ValueError, TypeError) as error:
            raise TokenInvalidError from error


def digest(secret: str) -> bytes:
    """SHA-256 of a high-entropy secret; what is stored in its place."""
    return hashlib.sha256(secret.encode()).digest()
