"""Every OpenAPI against deploy/routes.json: who owns a path, what needs no access token."""

import importlib
import re
from collections.abc import Iterator
from typing import Any

import pytest
from deploy.local import routes
from fastapi import FastAPI

from common.revisions import schema_of

METHODS = {"get", "put", "post", "delete", "patch", "head", "options", "trace"}

Operation = tuple[str, str]


@pytest.fixture(scope="module")
def table() -> routes.Routes:
    return routes.load()


@pytest.fixture(scope="module")
def apps(environment: dict[str, str]) -> dict[str, FastAPI]:
    assert environment
    return {service: importlib.import_module(f"{schema_of(service)}.main").create() for service in routes.SERVICES}


def operations(app: FastAPI) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Method, path and description of every operation of an app."""
    for path, item in app.openapi().get("paths", {}).items():
        for method in METHODS & set(item):
            yield method.upper(), path, item[method]


def shape(path: str) -> str:
    """A path template without the names of its parameters: routing does not know them."""
    return re.sub(r"\{[^}]*\}", "{}", path)


def public_of(table: routes.Routes) -> set[Operation]:
    return {(entry.method, shape(entry.path)) for entry in table.public}


@pytest.mark.parametrize("service", routes.SERVICES)
def test_each_path_leads_to_the_service_that_has_it(
    apps: dict[str, FastAPI], table: routes.Routes, service: str
) -> None:
    owners = {path: table.route_for(path) for _, path, _ in operations(apps[service])}
    strays = {path: route and route.service for path, route in owners.items() if not route or route.service != service}
    assert strays == {}


def test_no_path_is_served_twice(apps: dict[str, FastAPI]) -> None:
    everywhere = [(method, shape(path)) for app in apps.values() for method, path, _ in operations(app)]
    assert len(everywhere) == len(set(everywhere))


@pytest.mark.parametrize("service", routes.SERVICES)
def test_exactly_the_public_operations_need_no_access_token(
    apps: dict[str, FastAPI], table: routes.Routes, service: str
) -> None:
    found = {
        (method, shape(path)): bool(operation.get("security")) for method, path, operation in operations(apps[service])
    }
    open_ones = {operation for operation, protected in found.items() if not protected}
    assert open_ones == public_of(table) & set(found)


@pytest.mark.parametrize("service", routes.SERVICES)
def test_openapi_is_served_where_the_table_and_docs_say(
    apps: dict[str, FastAPI], table: routes.Routes, service: str
) -> None:
    place = routes.openapi_path(service)
    route = table.route_for(place)
    assert apps[service].openapi_url == place
    assert route is not None
    assert (route.service, route.prefix) == (service, place)
    assert ("GET", place) in public_of(table)


@pytest.mark.parametrize("service", routes.SERVICES)
def test_internal_paths_are_internal_and_need_an_assertion(apps: dict[str, FastAPI], service: str) -> None:
    internal = list(operations(apps[service].state.internal_app))
    assert all(path.startswith("/internal/") for _, path, _ in internal)
    assert all(operation.get("security") for _, _, operation in internal)
    assert not any(path.startswith("/internal") for _, path, _ in operations(apps[service]))


def test_nothing_that_must_stay_inside_has_a_route(table: routes.Routes) -> None:
    assert [
        path for path in ("/health/live", "/health/ready", "/version", "/internal/jwks") if table.route_for(path)
    ] == []


def test_a_body_as_large_as_a_document_reaches_documents(apps: dict[str, FastAPI], table: routes.Routes) -> None:
    route = table.route_for("/v1/documents/0/content")
    assert route is not None
    assert route.body_limit_mib * 1024 * 1024 >= apps["documents"].state.settings.body_limit_bytes
