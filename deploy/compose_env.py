"""Writes the environment files of deploy/compose.yaml, with secrets made on first use: `python -m deploy.compose_env`.

One file a container, so that each gets its own secrets and nobody else's. Running it again keeps the secrets.
"""

import os
import sys
from pathlib import Path

from deploy.local import keys
from deploy.local.environments import DATABASE, Environments, Place
from deploy.local.layout import DEFAULT_GATEWAY_PORT, ROOT
from deploy.local.machine import own_file
from deploy.local.routes import SERVICES

FOLDER = ROOT / ".state" / "compose"
PORT, INTERNAL_PORT = 8000, 8100
STATE = "/var/lib/mdcreator"


def environments(secrets: keys.Keys, issuer: str) -> Environments:
    """The services as containers of one network."""
    place = Place(
        issuer=issuer,
        host="0.0.0.0",
        ports=dict.fromkeys(SERVICES, PORT),
        internal_ports=dict.fromkeys(SERVICES, INTERNAL_PORT),
        internal_urls={name: f"http://{name}:{INTERNAL_PORT}" for name in SERVICES},
        postgres_url=f"postgresql://postgres:{secrets['postgres']}@postgres:5432/{DATABASE}",
        redis_url=f"redis://:{secrets['redis']}@redis:6379/0",
        amqp_url=f"amqp://mdcreator:{secrets['rabbitmq']}@rabbitmq:5672/",
        state_dir=STATE,
    )
    return Environments(place, secrets)


def files(secrets: keys.Keys, issuer: str) -> dict[str, dict[str, str]]:
    """Environment file -> variables."""
    all_of = environments(secrets, issuer)
    return {
        "postgres": {"POSTGRES_PASSWORD": secrets["postgres"], "POSTGRES_DB": DATABASE},
        "redis": {"REDIS_PASSWORD": secrets["redis"]},
        "rabbitmq": {"RABBITMQ_DEFAULT_USER": "mdcreator", "RABBITMQ_DEFAULT_PASS": secrets["rabbitmq"]},
        "migrate": all_of.migration(),
        **{service: all_of.shared() | all_of.own(service) for service in SERVICES},
    }


def write(folder: Path, issuer: str | None = None) -> list[Path]:
    """Write all files below `folder`, readable by their owner only."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    port = os.environ.get("GATEWAY_PORT") or DEFAULT_GATEWAY_PORT
    secrets = keys.load(folder / "secrets.json")
    written = []
    for name, variables in files(secrets, issuer or f"http://127.0.0.1:{port}").items():
        lines = [f"{key}={quoted(value)}" for key, value in variables.items()]
        written.append(own_file(folder / f"{name}.env", "\n".join(lines) + "\n", None))
    return written


def quoted(value: str) -> str:
    """As Compose reads exactly this value: single quotes, nothing expanded, line breaks kept. Raises ValueError."""
    if "'" in value:
        raise ValueError("a value with a single quote cannot be written to an environment file")
    return f"'{value}'"


def main() -> int:
    """Write them; an argument is the public base URL."""
    written = write(FOLDER, sys.argv[1] if len(sys.argv) > 1 else None)
    print(f"{len(written)} files in {FOLDER}. Next: docker compose -f deploy/compose.yaml up --build --detach")
    return 0


if __name__ == "__main__":
    sys.exit(main())
