"""Which schema revision this release brings; read without Alembic, which a running service need not carry (8 MB)."""

import importlib.util
import re
from functools import lru_cache
from pathlib import Path

SERVICES = ("auth-gateway", "documents", "sync", "collab", "files", "ai-proxy")
_LINE = re.compile(r"^(revision|down_revision) = (?:[\"'](\w+)[\"']|None)$", re.MULTILINE)


class SchemaTooOldError(RuntimeError):
    """The database is at an older revision than this release needs: migrate first."""


def schema_of(service: str) -> str:
    """`ai-proxy` -> `ai_proxy`."""
    return service.replace("-", "_")


def script_location(service: str) -> Path:
    """The service's migrations folder, in a checkout or inside the installed package."""
    spec = importlib.util.find_spec(schema_of(service))
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"service {service} is not installed")
    package = Path(spec.origin).parent
    inside = package / "migrations"
    return inside if inside.is_dir() else package.parents[1] / "migrations"


@lru_cache
def older_revisions(service: str) -> frozenset[str]:
    """Every revision this release knows and has moved on from; any other one is its head, or newer than it."""
    files = (script_location(service) / "versions").glob("*.py")
    found = [dict(_LINE.findall(path.read_text())) for path in files]
    if not found or any("revision" not in revision for revision in found):
        raise LookupError(f"the migrations of {service} cannot be read")
    return frozenset(revision["down_revision"] for revision in found if revision.get("down_revision"))
