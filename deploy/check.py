"""Checks the files under deploy/ that no other tool reads before they are used: `python -m deploy.check`."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import yaml  # type: ignore[import-untyped]

from deploy.compose_env import FOLDER, files, write
from deploy.local import keys, routes
from deploy.local.keys import variable
from deploy.local.routes import SERVICES

DEPLOY = Path(__file__).parent
COMPOSE = DEPLOY / "compose.yaml"
AUTH_ONLY = {f"AUTH_GATEWAY_{name}" for name in ("SIGNING_KEYS", "REFRESH_KEY")}
ONLY_GIVEN = {"GATEWAY_PORT", "PORT_BASE", "TRACE_SAMPLE_PERCENT", "OBJECT_STORE"}
ONLY_GIVEN |= {"POSTGRES_URL", "REDIS_URL", "AMQP_URL"}


def check_routes() -> str:
    """routes.json is consistent."""
    table = routes.load()
    return f"{len(table.routes)} routes, {len(table.public)} public operations"


def check_env_example() -> str:
    """env.example explains exactly the variables the containers get (of the services' own ones: one service's)."""
    lines = (DEPLOY / "env.example").read_text().splitlines()
    named = {line.partition("=")[0] for line in lines if "=" in line and not line.startswith("#")}
    secrets = keys.Keys({**dict.fromkeys(keys.MAKERS, "x"), **_example_keys()})
    given = {name for variables in files(secrets, "").values() for name in variables}
    prefixes = {variable(service, "") for service in SERVICES} - {"DOCUMENTS_"}
    shared = {name for name in given if not name.startswith(tuple(prefixes)) or name in AUTH_ONLY}
    if named - ONLY_GIVEN != shared:
        raise ValueError(f"env.example differs in {', '.join(sorted((named - ONLY_GIVEN) ^ shared))}")
    return f"{len(named)} variables explained"


def check_compose() -> str:
    """compose.yaml has every service, and `docker compose config` takes it where there is a Docker."""
    composed = yaml.safe_load(COMPOSE.read_text())["services"]
    missing = set(SERVICES) - set(composed)
    if missing:
        raise ValueError(f"compose.yaml lacks {', '.join(sorted(missing))}")
    for name, service in composed.items():
        unknown = set(service.get("depends_on", ())) - set(composed)
        if unknown:
            raise ValueError(f"compose.yaml: {name} depends on unknown {', '.join(sorted(unknown))}")
    command = ["docker", "compose"]
    if not shutil.which("docker") or subprocess.run([*command, "version"], capture_output=True, check=False).returncode:
        return f"{len(composed)} services; no Docker here, so only the YAML was read"
    if not FOLDER.exists():
        write(FOLDER)
    _run(*command, "--file", str(COMPOSE), "config", "--quiet")
    return f"{len(composed)} services, docker compose agrees"


def check_dockerfiles() -> str:
    """The services' Dockerfiles differ in the service's name only."""
    texts = {name: (DEPLOY.parent / "services" / name / "Dockerfile").read_text() for name in SERVICES}
    if len({_nameless(text, name) for name, text in texts.items()}) != 1:
        raise ValueError("services/*/Dockerfile differ in more than the service's name")
    return f"{len(texts)} alike"


def check_scripts() -> str:
    """Shell scripts parse."""
    _run("sh", "-n", str(DEPLOY / "local" / "bootstrap.sh"))
    _run("sh", "-n", str(DEPLOY.parent / "docs" / "upload.sh"))
    _run("bash", "-n", str(DEPLOY.parent / ".ci" / "run"))
    return "3 parse"


def check_projects() -> str:
    """All pyproject.toml follow the specifications."""
    files = [DEPLOY.parent / "pyproject.toml", *DEPLOY.parent.glob("libs/*/pyproject.toml")]
    files += DEPLOY.parent.glob("services/*/pyproject.toml")
    _run(sys.executable, "-m", "validate_pyproject", *map(str, files))
    return f"{len(files)} valid"


def _example_keys() -> dict[str, object]:
    roles = [role for service in SERVICES for role in keys.roles(service)]
    return {"roles": dict.fromkeys(roles, "x"), "service_keys": {service: {} for service in SERVICES}}


def _nameless(text: str, service: str) -> str:
    for place in ("services/{}", "--package {}\n", '"common.serve", "{}"'):
        text = text.replace(place.format(service), place)
    return text


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ValueError(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()}")


CHECKS: dict[str, Callable[[], str]] = {
    "routes.json": check_routes,
    "env.example": check_env_example,
    "compose.yaml": check_compose,
    "Dockerfiles": check_dockerfiles,
    "scripts": check_scripts,
    "pyproject": check_projects,
}


def main() -> int:
    """Run every check; exit code 1 if one fails."""
    failed = 0
    for name, check in CHECKS.items():
        try:
            print(f"{name:<13} {check()}")
        except (OSError, ValueError) as error:
            print(f"{name:<13} FAILED: {error}")
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main())
