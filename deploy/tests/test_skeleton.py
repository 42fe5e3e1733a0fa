"""The six services are of one shape: same files, same small files, a README that says the same things and is true."""

import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from deploy import settings_table
from fastapi import FastAPI

from common import contracts
from common.revisions import SERVICES, schema_of
from common.settings import CommonSettings, env_prefix

ROOT = Path(__file__).parents[2] / "services"
GENERATED = {"__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache"}
HEADINGS = ["Owns", "API", "Publishes", "Consumes", "Settings", "Run and test", "When something is down"]
NEEDED = ("__init__", "main", "routes", "dependencies", "models", "settings")
ALLOWED = {
    *NEEDED, "consumers", "service", "repository", "schemas", "errors", "domain",
    "identity", "mail", "storage", "rooms", "providers", "processing", "fsck",
}  # fmt: skip


def package(service: str) -> Path:
    return ROOT / service / "src" / schema_of(service)


def entries(folder: Path) -> Iterator[Path]:
    """Files and folders that belong to the repository; a folder without files is none."""
    for path in sorted(folder.iterdir()):
        if path.name not in GENERATED and (path.is_file() or any(item.is_file() for item in path.rglob("*.*"))):
            yield path


def anonymous(text: str, service: str) -> list[str]:
    """Lines without the service's names (`uv sync` is no service); sorted, since imports are sorted by name."""
    names = "|".join(re.escape(name) for name in (service, schema_of(service), env_prefix(service).rstrip("_")))
    plain = re.sub(rf"(?<!uv )(?<![A-Za-z])({names})(?![A-Za-z])", "SERVICE", text)
    return sorted(plain.splitlines())


def headings(text: str) -> list[str]:
    return re.findall(r"^## (.+)$", text, re.MULTILINE)


def test_every_service_has_a_folder_and_every_folder_is_a_service() -> None:
    assert {path.name for path in entries(ROOT)} == set(SERVICES)


@pytest.mark.parametrize("service", SERVICES)
def test_folders_match(service: str) -> None:
    def parts(name: str) -> set[str]:
        return {path.name for path in entries(ROOT / name)} - {"tests"}

    assert parts(service) == parts("documents")
    assert {path.name for path in entries(ROOT / service / "migrations")} == {"env.py", "script.py.mako", "versions"}
    assert [path.name for path in entries(ROOT / service / "src")] == [schema_of(service)]


@pytest.mark.parametrize("service", SERVICES)
def test_modules_have_the_fixed_names(service: str) -> None:
    modules = {path.stem for path in entries(package(service)) if path.suffix in ("", ".py")}
    assert set(NEEDED) <= modules
    assert modules <= ALLOWED


@pytest.mark.parametrize("name", ["migrations/env.py", "migrations/script.py.mako", "Dockerfile"])
@pytest.mark.parametrize("service", SERVICES)
def test_small_files_differ_only_in_the_name(service: str, name: str) -> None:
    mine, theirs = (ROOT / service / name, ROOT / "documents" / name)
    assert mine.exists() == theirs.exists()
    if mine.exists():
        assert anonymous(mine.read_text(), service) == anonymous(theirs.read_text(), "documents")


@pytest.mark.parametrize("service", SERVICES)
def test_one_name_everywhere(service: str) -> None:
    settings = settings_table.settings_of(service)
    text = (ROOT / service / "pyproject.toml").read_text()
    assert settings.service == service
    assert f'\nname = "{service}"\n' in text
    assert f'packages = ["src/{schema_of(service)}"]' in text
    assert importlib.import_module(f"{schema_of(service)}.models").Table.metadata.schema == schema_of(service)


@pytest.mark.parametrize("service", SERVICES)
def test_readme_has_the_seven_headings_and_fits_a_page(service: str) -> None:
    text = settings_table.readme(service).read_text()
    assert text.startswith(f"# {service}\n")
    assert headings(text) == HEADINGS
    assert all(body.strip() for body in re.split(r"^## .+$", text, flags=re.MULTILINE))
    prose = [line for line in text.splitlines() if not line.startswith("| ")]
    assert len(" ".join(prose).split()) < 600


@pytest.mark.parametrize("service", SERVICES)
def test_readme_names_exactly_the_events_of_the_contract(service: str) -> None:
    text = settings_table.readme(service).read_text()
    publishes = text[text.index("\n## Publishes\n") : text.index("\n## Consumes\n")]
    contract = Path(contracts.__file__).with_name(f"{schema_of(service)}.py")
    events = re.findall(r'^    type = "(.+)"$', contract.read_text(), re.MULTILINE) if contract.exists() else []
    assert sorted(re.findall(r"`([a-z-]+\.[a-z.-]+\.v\d+)`", publishes)) == sorted(events)


@pytest.mark.parametrize("service", SERVICES)
def test_settings_table_is_current(service: str) -> None:
    text = settings_table.readme(service).read_text()
    assert settings_table.with_section(text, service) == text, "run: python deploy/settings_table.py --write"


@pytest.mark.parametrize("service", SERVICES)
def test_settings_table_lists_every_field_once_with_unit_and_meaning(service: str) -> None:
    rows = [line.split(" | ") for line in settings_table.section(service).splitlines() if line.startswith("| `")]
    names = [re.sub(rf"^(MDC_|{env_prefix(service)})", "", row[0].strip("| `")).lower() for row in rows]
    fields = settings_table.settings_of(service).model_fields
    assert sorted(names) == sorted(fields)
    assert set(CommonSettings.model_fields) <= set(fields)
    for row in rows:
        assert all(cell.strip("| ") for cell in row), row


@pytest.mark.parametrize("service", SERVICES)
def test_readme_names_every_endpoint(service: str, environment: dict[str, str]) -> None:
    assert environment
    app: FastAPI = importlib.import_module(f"{schema_of(service)}.main").create()
    text = settings_table.readme(service).read_text()
    api = text[text.index("\n## API\n") : text.index("\n## Publishes\n")]
    named = set(re.findall(r"`([A-Z]+) (/[^`]*)`", api))
    real = {
        (method.upper(), path)
        for one in (app, app.state.internal_app)
        for path, item in one.openapi().get("paths", {}).items()
        for method in item
    }
    assert named == real | {("GET", f"/v1/{service}/openapi.json")}


def test_a_readme_without_the_section_is_an_error() -> None:
    with pytest.raises(ValueError, match="substring not found"):
        settings_table.with_section("# sync\n\n## Owns\n", "sync")
