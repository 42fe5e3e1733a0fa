"""The isolation matrix: every route of every service tried by every role, against the rules beside the routes.

Generated from the OpenAPI documents: a route without a rule, or without a request to try it with, fails. Guests join
with grants.
"""

import importlib
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from fastapi import FastAPI

from common.access import Action, Role, allows
from common.revisions import SERVICES, schema_of
from common.testing.people import People, Person

ROOT = Path(__file__).parents[2]
METHODS = ("get", "put", "post", "delete", "patch")
OUTSIDERS = ("removed", "stranger", "anonymous")
WHO = (*OUTSIDERS, *reversed([role.value for role in Role]))
JSON, NAME = "application/json", {"name": "Renamed"}
SECRET = "x" * 43

BODIES: dict[str, Any] = {
    "POST /v1/auth/login": {"email": "nobody@example.org", "password": "wrong horse"},
    "POST /v1/auth/logout": {"refresh_token": SECRET},
    "POST /v1/auth/refresh": {"refresh_token": SECRET},
    "POST /v1/auth/register": {"email": "nobody@example.org", "password": "weak", "display_name": "N"},
    "POST /v1/auth/verify-email": {"token": SECRET},
    "PATCH /v1/users/me": {"display_name": "Somebody"},
    "POST /v1/workspaces": {"name": "Another"},
    "PATCH /v1/workspaces/{workspace_id}": NAME,
    "PATCH /v1/workspaces/{workspace_id}/members/{user_id}": {"role": "commenter"},
    "POST /v1/workspaces/{workspace_id}/invitations": lambda: {"email": f"{uuid4().hex}@example.org", "role": "viewer"},
    "POST /v1/documents": {"workspace_id": "{workspace_id}", "title": "New"},
    "PATCH /v1/documents/{document_id}": {"title": "Renamed"},
    "PUT /v1/documents/{document_id}/content": {"content": "changed\n"},
    "PATCH /v1/documents/{document_id}/content": {"edits": [{"append": "more\n"}]},
}
LISTS = ("/v1/documents", "/v1/sync/log", "/v1/sync/log/verify")
QUERIES = {path: {"workspace_id": "{workspace_id}"} for path in LISTS}


def rules_of(service: str) -> dict[str, str]:
    """Declared rules, by operation."""
    return tomllib.loads((ROOT / "services" / service / "access.toml").read_text())


def operations_of(service: str) -> dict[str, dict[str, Any]]:
    """Public operations of a service, as its OpenAPI document has them."""
    app: FastAPI = importlib.import_module(f"{schema_of(service)}.main").create()
    paths = app.openapi().get("paths", {})
    return {f"{m.upper()} {path}": item[m] for path, item in paths.items() for m in METHODS if m in item}


@pytest.mark.parametrize("service", SERVICES)
def test_every_route_has_exactly_one_rule(service: str, environment: dict[str, str]) -> None:
    assert environment
    rules, operations = rules_of(service), operations_of(service)
    assert set(rules) == set(operations), f"services/{service}/access.toml: declare who may call it"
    assert set(rules.values()) <= {"public", "self", "secret", *Action}
    open_ones = {name for name, operation in operations.items() if not operation.get("security")}
    assert open_ones == {name for name, rule in rules.items() if rule == "public"}


def test_every_body_has_a_sample(environment: dict[str, str]) -> None:
    assert environment
    wanted = {
        name for service in SERVICES for name, operation in operations_of(service).items() if "requestBody" in operation
    }
    assert wanted == set(BODIES)


@dataclass
class World:
    """A workspace, somebody in each role, and targets made anew for each request."""

    people: People
    workspace: str
    persons: dict[str, Person]

    async def target(self) -> dict[str, str]:
        """Path parameters: a document, a member and an invitation nobody has touched."""
        owner, member = self.persons["owner"], await self.people.person("Target")
        await self.people.join(self.workspace, member, "viewer")
        invited = {"email": f"{uuid4().hex}@example.org", "role": "viewer"}
        invitation = await owner.http.post(f"/v1/workspaces/{self.workspace}/invitations", json=invited)
        document = await self.people.document(owner, self.workspace, "text\n")
        return {
            "workspace_id": self.workspace, "document_id": document["id"], "user_id": str(member.id), "n": "1",
            "invitation_id": invitation.json()["id"], "session_id": str(uuid4()), "token": SECRET,
        }  # fmt: skip

    async def ask(self, who: str, operation: str) -> int:
        """Status of the answer to this operation."""
        method, _, path = operation.partition(" ")
        target = await self.target()
        body = BODIES.get(operation)
        http = self.people.client() if who == "anonymous" else self.persons[who].http
        answer = await http.request(
            method,
            _filled(path, target),
            json=_filled(body() if callable(body) else body, target),
            params=_filled(QUERIES.get(path, {}), target),
            headers={"If-Match": '"v1"'},
        )
        return answer.status_code


def _filled(value: Any, target: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {name: _filled(item, target) for name, item in value.items()}
    return re.sub(r"\{(\w+)\}", lambda match: target[match[1]], value) if isinstance(value, str) else value


@pytest_asyncio.fixture(scope="module")
async def world(people: People) -> World:
    owner = await people.person("Owner")
    workspace = await people.workspace(owner)
    persons = {"owner": owner, "stranger": await people.person("Stranger")}
    for role in ("admin", "editor", "commenter", "viewer", "removed"):
        persons[role] = await people.person(role)
        await people.join(workspace, persons[role], "editor" if role == "removed" else role)
    gone = await owner.http.delete(f"/v1/workspaces/{workspace}/members/{persons['removed'].id}")
    assert gone.status_code == 204
    return World(people, workspace, persons)


def expected(rule: str, who: str) -> set[int]:
    """Statuses a rule allows: what is refused is refused exactly, what is allowed is anything but refused."""
    if rule == "public":
        return set(range(200, 500)) - {403}
    if who == "anonymous":
        return {401}
    if rule in ("self", "secret"):
        return set(range(200, 500)) - {401, 403}
    if who in OUTSIDERS:
        return {404}
    return {*range(200, 400), 409, 412} if allows(who, Action(rule)) else {403}


RULES = [(operation, rule) for service in SERVICES for operation, rule in rules_of(service).items()]


@pytest.mark.parametrize(("operation", "rule"), RULES, ids=[operation for operation, _ in RULES])
async def test_everybody_gets_exactly_what_the_rule_says(world: World, operation: str, rule: str) -> None:
    got = {who: await world.ask(who, operation) for who in WHO}
    wrong = {who: status for who, status in got.items() if status not in expected(rule, who)}
    assert wrong == {}, f"{operation} is declared {rule!r}"


def test_the_matrix_covers_every_route(environment: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert environment
    routes = sum(len(operations_of(service)) for service in SERVICES)
    with capsys.disabled():
        print(f"\nisolation matrix: {len(RULES)} of {routes} routes x {len(WHO)} roles")
    assert len(RULES) == routes
