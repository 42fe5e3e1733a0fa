"""Passwords and keys of one installation: made once, kept in a file only its owner reads, completed when new ones come.

Used by `make up` and, for the Compose environment file, by `deploy/compose_env.py`.
"""

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from joserfc.jwk import OKPKey, RSAKey

from deploy.local.machine import own_file
from deploy.local.routes import SERVICES


def schema(service: str) -> str:
    """PostgreSQL schema and runtime role of a service: `ai-proxy` -> `ai_proxy`."""
    return service.replace("-", "_")


def roles(service: str) -> tuple[str, str, str]:
    """PostgreSQL roles of a service that log in: runtime, worker, owner."""
    return schema(service), f"{schema(service)}_worker", f"{schema(service)}_owner"


def variable(service: str, name: str) -> str:
    """Environment variable of one service: `AI_PROXY_PORT`."""
    return f"{schema(service).upper()}_{name}"


@dataclass(frozen=True)
class Keys:
    """All secrets, by name."""

    values: dict[str, Any]

    def __getitem__(self, name: str) -> str:
        return str(self.values[name])

    def role(self, name: str) -> str:
        """Password of a PostgreSQL role."""
        return str(self.values["roles"][name])

    def service_key(self, service: str) -> str:
        """The service's private Ed25519 key (JWK, `kid` = service)."""
        return json.dumps(self.values["service_keys"][service])

    def service_public_keys(self) -> str:
        """JWKS of all services' public keys."""
        public = [{k: v for k, v in key.items() if k != "d"} for key in self.values["service_keys"].values()]
        return json.dumps({"keys": public})


def load(file: Path) -> Keys:
    """Read the file and add what is missing; it is created on first use."""
    known: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    complete = {name: known.get(name) or make() for name, make in MAKERS.items()}
    complete["roles"] = {
        role: known.get("roles", {}).get(role) or _password() for service in SERVICES for role in roles(service)
    }
    complete["service_keys"] = {
        service: known.get("service_keys", {}).get(service) or _service_key(service) for service in SERVICES
    }
    if complete != known:
        own_file(file, json.dumps(complete, indent=2) + "\n", None)
    return Keys(complete)


def _password() -> str:
    return secrets.token_hex(24)


def _signing_key() -> str:
    return RSAKey.generate_key(2048).as_pem(private=True).decode()


def _service_key(service: str) -> dict[str, Any]:
    return dict(OKPKey.generate_key("Ed25519", {"kid": service, "use": "sig"}).as_dict(private=True))


MAKERS: dict[str, Callable[[], str]] = {
    "postgres": _password,
    "redis": _password,
    "rabbitmq": _password,
    "supervisor": _password,
    "signing_keys": _signing_key,
    "refresh_key": lambda: secrets.token_urlsafe(32),
    "cursor_key": lambda: secrets.token_urlsafe(32),
    "ticket_key": lambda: secrets.token_urlsafe(32),
    "url_key": lambda: secrets.token_urlsafe(32),
    "key_encryption_key": lambda: secrets.token_urlsafe(32),
}
