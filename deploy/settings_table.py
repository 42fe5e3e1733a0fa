"""Writes the settings tables of the services' READMEs from their Settings classes; a test asserts they are current.

`python deploy/settings_table.py --write` after a setting was added or changed; without `--write` it only compares.
"""

import importlib
import sys
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from common.revisions import SERVICES, schema_of
from common.settings import CommonSettings, env_prefix

ROOT = Path(__file__).resolve().parents[1]
HEADING = "## Settings\n"
DIFFERENT_EVERYWHERE = ("port", "internal_port", "database_url", "service_key")
UNITS = {
    "_seconds": "seconds",
    "_bytes": "bytes",
    "_hours": "hours",
    "_days": "days",
    "_per_minute": "per minute",
    "port": "port",
    "_url": "URL",
    "_dir": "folder",
}
KINDS: dict[object, str] = {
    bool: "true or false",
    int: "number",
    float: "number",
    str: "text",
    Path: "folder",
    SecretStr: "secret",
    list: "JSON",
    dict: "JSON",
}


def readme(service: str) -> Path:
    """The service's README."""
    return ROOT / "services" / service / "README.md"


def settings_of(service: str) -> type[CommonSettings]:
    """The service's Settings class."""
    found: type[CommonSettings] = importlib.import_module(f"{schema_of(service)}.settings").Settings
    return found


def section(service: str) -> str:
    """The whole section "Settings": own settings first, then those every service has."""
    settings = settings_of(service)
    common = CommonSettings.model_fields
    own = [name for name in settings.model_fields if name not in common]
    rows = [_row(service, name, settings.model_fields[name], own=name in own) for name in [*own, *common]]
    prefix = env_prefix(service)
    lines = [
        f"Read from the environment. `MDC_…` sets a value for all services; `{prefix}…` with the same ending sets it",
        "for this one and wins. This section is written by `.venv/bin/python deploy/settings_table.py --write`.",
        "",
        "| variable | default | unit | meaning |",
        "|---|---|---|---|",
        *rows,
    ]
    return "\n".join([HEADING, *lines, "", ""])


def _row(service: str, name: str, field: FieldInfo, *, own: bool) -> str:
    prefix = env_prefix(service) if own or name in DIFFERENT_EVERYWHERE else "MDC_"
    meaning = (field.description or "").replace("|", "\\|")
    return f"| `{prefix}{name.upper()}` | {_default(field)} | {_unit(name, field)} | {meaning} |"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if field.default is None:
        return "none"
    if isinstance(field.default, bool):
        return f"`{str(field.default).lower()}`"
    return f"`{field.default}`"


def _unit(name: str, field: FieldInfo) -> str:
    kind = _kind(field.annotation)
    if kind in (bool, SecretStr, list, dict):
        return KINDS[kind]
    return next((unit for ending, unit in UNITS.items() if name.endswith(ending)), KINDS[kind])


def _kind(annotation: Any) -> object:
    """The type a value has: `X | None` is X, `list[str]` is list."""
    options = [option for option in get_args(annotation) if option is not NoneType]
    if get_origin(annotation) is Literal:
        return str
    if get_origin(annotation) in (list, dict):
        return get_origin(annotation)
    return _kind(options[0]) if options else annotation


def with_section(text: str, service: str) -> str:
    """The README with its section "Settings" as it should be. Raises ValueError if it has none."""
    begin = text.index(HEADING)
    end = text.find("\n## ", begin)
    return text[:begin] + section(service) + (text[end + 1 :] if end >= 0 else "")


def main(arguments: list[str]) -> int:
    """Exit code 1 if a table was not current (and was not written)."""
    stale = []
    for service in SERVICES:
        before = readme(service).read_text()
        after = with_section(before, service)
        if before != after:
            stale.append(service)
        if "--write" in arguments:
            readme(service).write_text(after)
    if stale:
        print(f"{'written' if '--write' in arguments else 'not current'}: {', '.join(stale)}")
    return 1 if stale and "--write" not in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
