"""Pure rules: who may change roles and settings, what an invitation is worth, how refresh tokens are made."""

import hashlib
import hmac
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from common.access import Action, Role, allows

REFRESH_PREFIX = "mdr_"


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """A refresh token: session (the family), generation, and proof that we made it."""

    session_id: UUID
    generation: int

    def render(self, key: str) -> str:
        """`mdr_<session>.<generation>.<HMAC-SHA256>`: the successor can be derived again, so it need not be stored."""
        return f"{REFRESH_PREFIX}{self.session_id.hex}.{self.generation}.{self._proof(key)}"

    def _proof(self, key: str) -> str:
        message = f"{self.session_id.hex}.{self.generation}".encode()
        mac = hmac.new(key.encode(), message, hashlib.sha256).digest()
        return urlsafe_b64encode(mac).rstrip(b"=").decode()

    def successor(self) -> "RefreshToken":
        """The token that follows this one."""
        return RefreshToken(self.session_id, self.generation + 1)

    @classmethod
    def parse(cls, text: str, key: str) -> "RefreshToken | None":
        """The token `text` renders, None unless it carries our proof (compared in constant time)."""
        session, _, rest = text.removeprefix(REFRESH_PREFIX).partition(".")
        generation, _, _ = rest.partition(".")
        try:
            token = cls(UUID(hex=session), int(generation))
        except ValueError:
            return None
        return token if hmac.compare_digest(token.render(key).encode(), text.encode()) else None


def may_set_role(actor: str, current: str, wanted: str) -> bool:
    """Admins manage everybody but owners; only owners make and unmake owners."""
    if Role.OWNER in (current, wanted):
        return allows(actor, Action.OWN)
    return allows(actor, Action.MANAGE)


def may_remove(actor: str, current: str, *, oneself: bool) -> bool:
    """Everybody may go; admins remove everybody but owners, owners everybody."""
    return oneself or may_set_role(actor, current, current)


OWNER_SETTINGS = frozenset({"allowed_domains", "mfa_required"})


def may_configure(actor: str, fields: Iterable[str]) -> bool:
    """Admins change name and settings; only owners who may join by themselves, and how everybody signs in."""
    return allows(actor, Action.MANAGE if OWNER_SETTINGS.isdisjoint(fields) else Action.OWN)


def may_invite_as(actor: str, role: str) -> bool:
    """Nobody invites above the own role."""
    return allows(actor, Action.INVITE) and may_set_role(actor, role, role)
