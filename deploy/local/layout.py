"""Where the local start keeps things and which ports it uses: folders below `.state/`, one block of ports."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from deploy.local.machine import Account, account, can_traverse
from deploy.local.routes import SERVICES

ROOT = Path(__file__).resolve().parents[2]
DEFAULT_PORT_BASE = 18000
DEFAULT_GATEWAY_PORT = 8080
BLOCK = 1000


class SettingError(ValueError):
    """A variable given to `make up` cannot be used; the message names it."""


@dataclass(frozen=True)
class Ports:
    """All ports of one checkout: the gateway's, and a block that starts at `base`.

    The block lies below the kernel's range for outgoing connections: otherwise a client's connection may hold a
    server's port at the moment that server is restarted.
    """

    base: int = DEFAULT_PORT_BASE
    gateway: int = DEFAULT_GATEWAY_PORT

    def service(self, name: str) -> int:
        return self.base + 1 + SERVICES.index(name)

    def internal(self, name: str) -> int:
        return self.base + 101 + SERVICES.index(name)

    @property
    def epmd(self) -> int:
        return self.base + 369

    @property
    def redis(self) -> int:
        return self.base + 379

    @property
    def objects(self) -> int:
        return self.base + 400

    @property
    def postgres(self) -> int:
        return self.base + 432

    @property
    def provider(self) -> int:
        """Of the development provider, when it runs."""
        return self.base + 500

    @property
    def rabbitmq(self) -> int:
        return self.base + 672

    @property
    def rabbitmq_distribution(self) -> int:
        return self.base + 673

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Ports":
        """GATEWAY_PORT and PORT_BASE, or the defaults. Raises `SettingError`."""
        ports = cls(
            base=_port(environment, "PORT_BASE", DEFAULT_PORT_BASE, 65535 - BLOCK),
            gateway=_port(environment, "GATEWAY_PORT", DEFAULT_GATEWAY_PORT, 65535),
        )
        if ports.base <= ports.gateway < ports.base + BLOCK:
            raise SettingError(
                f"GATEWAY_PORT={ports.gateway} lies in the block that begins at PORT_BASE={ports.base}: "
                f"choose one outside {ports.base}-{ports.base + BLOCK - 1}"
            )
        return ports


@dataclass(frozen=True)
class Layout:
    """Folders of one checkout."""

    root: Path = ROOT

    @property
    def state(self) -> Path:
        return self.root / ".state"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def objects(self) -> Path:
        """Made here and never by a service: an empty folder must not take the place of a lost one unseen."""
        return self.state / "objects"

    @property
    def run(self) -> Path:
        return self.state / "run"

    @property
    def secrets(self) -> Path:
        return self.state / "secrets.json"

    @property
    def outside(self) -> Path:
        """Where data go if the servers' own users cannot reach `.state` (a checkout below /root)."""
        return Path("/var/lib") / f"mdcreator-{hashlib.sha256(str(self.root).encode()).hexdigest()[:12]}"

    @cached_property
    def data(self) -> Path:
        """Folder of the backing servers' and the gateway's own files; `.state` must exist."""
        users = [gateway_user(), *map(account, ("postgres", "rabbitmq", "redis"))]
        if all(user is None or can_traverse(self.state, user) for user in users):
            return self.state / "data"
        return self.outside

    def make(self) -> None:
        """Create the folders; others may pass through `.state`, and a group through `objects`, but not list them."""
        for folder, mode in ((self.state, 0o711), (self.logs, 0o700), (self.run, 0o700), (self.objects, 0o710)):
            folder.mkdir(exist_ok=True)
            folder.chmod(mode)


def gateway_user() -> Account | None:
    """Who the gateway's workers run as."""
    return account("www-data", "nginx", "nobody")


def _port(environment: Mapping[str, str], name: str, default: int, highest: int) -> int:
    text = environment.get(name) or str(default)
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= highest:
        raise SettingError(f"{name} must be a number from 1 to {highest}, not {text!r}")
    if int(text) < 1024 and os.geteuid() != 0:
        raise SettingError(f"{name}={text}: ports below 1024 need root")
    return int(text)
