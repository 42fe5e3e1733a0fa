"""The isolation matrix: every route of every service tried by every role, against the rules beside the routes.

Generated from the OpenAPI documents: a route without a rule, or without a request to try it with, fails. What is about
one document or folder is tried on an open one, on a restricted one, and on one restricted to some with roles there.
"""

import asyncio
import importlib
import re
import tomllib
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
import pytest_asyncio
from deploy.provider.server import Running
from fastapi import FastAPI
from PIL import Image

from common.access import Action, Role, allows
from common.revisions import SERVICES, schema_of
from common.testing.people import People, Person

ROOT = Path(__file__).parents[2]
METHODS = ("get", "put", "post", "delete", "patch")
OUTSIDERS = ("removed", "suspended", "stranger", "anonymous")
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
    "POST /v1/workspaces/{workspace_id}/transfer": {"user_id": "{user_id}"},
    "POST /v1/workspaces/{workspace_id}/groups": lambda: {"name": uuid4().hex},
    "PATCH /v1/workspaces/{workspace_id}/groups/{group_id}": lambda: {"name": uuid4().hex},
    "PATCH /v1/workspaces/{workspace_id}/groups/{group_id}/members": {"add": ["{user_id}"]},
    "POST /v1/workspaces/{workspace_id}/invitations": lambda: {"email": f"{uuid4().hex}@example.org", "role": "viewer"},
    "POST /v1/documents": {"workspace_id": "{workspace_id}", "title": "New"},
    "PATCH /v1/documents/{document_id}": {"title": "Renamed"},
    "PUT /v1/documents/{document_id}/content": {"content": "changed\n"},
    "PATCH /v1/documents/{document_id}/content": {"edits": [{"append": "more\n"}]},
    "POST /v1/documents/{document_id}/move": {"folder_id": None},
    "POST /v1/documents/{document_id}/duplicate": {},
    "POST /v1/folders/{folder_id}/move": {"parent_id": None},
    "POST /v1/folders/{folder_id}/duplicate": {},
    "PUT /v1/sync/devices/{device_id}": {"name": "Laptop", "platform": "web"},
    "POST /v1/sync/bootstrap": {"device_id": "{device_id}"},
    "POST /v1/sync/pull": {"cursor": "none"},
    "POST /v1/sync/poll": {"cursor": "none", "timeout": 0},
    "POST /v1/sync/push": {"device_id": "{device_id}", "ops": [{"op_id": "{conflict_id}", "n": 1}]},
    "POST /v1/sync/verify": {"scope": "r:{workspace_id}"},
    "POST /v1/sync/conflicts/{conflict_id}/resolve": {"choice": "theirs"},
    "POST /v1/collab/documents/{document_id}/updates": b"\x00\x00",
    "POST /v1/collab/documents/{document_id}/copies": b"\x00\x00",
    "POST /v1/folders": {"workspace_id": "{workspace_id}", "name": "New"},
    "PATCH /v1/folders/{folder_id}": NAME,
    "POST /v1/files/uploads": {
        "workspace_id": "{workspace_id}", "filename": "a.txt", "size": 1, "content_type": "text/plain",
        "sha256": "0" * 64,
    },
    "POST /v1/files/uploads/{upload_id}/parts": {"part_numbers": [1]},
    "POST /v1/files/urls": {"ids": ["{upload_id}"]},
    "PATCH /v1/files/{file_id}": {"filename": "b.txt"},
    "POST /v1/files/attachments": {"file_id": "{file_id}", "document_id": "{document_id}"},
    "POST /v1/context-files": {"file_id": "{file_id}", "scope": "document", "document_id": "{document_id}"},
    "POST /v1/ai/openai/chat/completions": {"model": "dev-small", "messages": [{"role": "user", "content": "x"}]},
    "POST /v1/ai/openai/responses": {"model": "dev-small", "input": "x"},
    "POST /v1/ai/openai/embeddings": {"model": "dev-embed", "input": "x"},
    "POST /v1/ai/anthropic/messages": {"model": "dev-small", "max_tokens": 9, "messages": []},
    "POST /v1/ai/anthropic/messages/count_tokens": {"model": "dev-small", "messages": []},
    "POST /v1/ai/assist": {"action": "summarize", "document_id": "{document_id}"},
    "PUT /v1/ai/budgets": {"scope": "workspace", "workspace_id": "{workspace_id}"},
    "PUT /v1/ai/keys/{provider}": {"key": "dev-own-abcdefgh"},
}  # fmt: skip
for _node in ("documents", "folders"):
    _path = f"/v1/{_node}/{{node_id}}"
    BODIES |= {
        f"PUT {_path}/access": {"grants": {"user:{user_id}": "viewer"}},
        f"PUT {_path}/access/{{principal}}": {"role": "viewer"},
        f"POST {_path}/access-requests": {"role": "owner"},
        f"POST {_path}/access-requests/{{request_id}}/approve": {"role": "viewer"},
    }
_ABOUT = r" /v1/((collab/)?(documents|folders)/|files/\{file_id\}|files/attachments|context-files/|ai/assist)"
LISTS = (
    "/v1/documents", "/v1/folders", "/v1/sync/log", "/v1/sync/log/verify", "/v1/files", "/v1/files/usage",
    "/v1/context-files", "/v1/ai/models", "/v1/ai/budgets", "/v1/ai/keys/{provider}",
)  # fmt: skip
QUERIES = {path: {"workspace_id": "{workspace_id}"} for path in LISTS}
QUERIES["GET /v1/files/attachments"] = {"document_id": "{document_id}"}
QUERIES["GET /v1/ai/usage"] = {"scope": "workspace", "workspace_id": "{workspace_id}"}
QUERIES["GET /v1/sync/stream"] = {"device_id": "{device_id}"}
QUERIES["DELETE /v1/workspaces/{workspace_id}"] = {"confirm": "Notes"}
PLACES: dict[str, dict[str, str] | None] = {
    "open": None,
    "restricted": {"owner": "owner"},
    "granted": {
        "owner": "owner",
        "admin": "viewer",
        "editor": "commenter",
        "viewer": "editor",
        "guest": "owner",
    },
}
"""Who has which role at a document or folder; None: the one in the workspace."""
CONSUMING = {  # whoever may do this leaves the workspace other than it was
    "DELETE /v1/ai/keys/{provider}",
    "DELETE /v1/workspaces/{workspace_id}",
    "POST /v1/workspaces/{workspace_id}/leave",
    "POST /v1/workspaces/{workspace_id}/transfer",
}


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

    async def target(self, operation: str, place: str, wanted: set[str]) -> dict[str, str]:
        """Values of the parameters the request has: things and people nobody has touched."""
        owner, found = self.persons["owner"], {
            "workspace_id": self.workspace, "n": "1", "token": SECRET,
            "session_id": str(uuid4()), "device_id": str(uuid4()), "conflict_id": str(uuid4()),
            "upload_id": str(uuid4()), "provider": "openai",
        }  # fmt: skip
        if operation.endswith("/v1/ai/keys/{provider}"):
            path = f"/v1/ai/keys/openai?workspace_id={self.workspace}"
            assert (await owner.http.put(path, json={"key": "dev-own-abcdefgh"})).status_code == 200
        if wanted & {"user_id", "principal"}:
            member = await self.people.person("Target")
            await self.people.join(self.workspace, member, "viewer")
            found |= {"user_id": str(member.id), "principal": f"user:{member.id}"}
        if "invitation_id" in wanted:
            invited = {"email": f"{uuid4().hex}@example.org", "role": "viewer"}
            answer = await owner.http.post(f"/v1/workspaces/{self.workspace}/invitations", json=invited)
            found["invitation_id"] = answer.json()["id"]
        if "group_id" in wanted:
            answer = await owner.http.post(f"/v1/workspaces/{self.workspace}/groups", json={"name": uuid4().hex})
            found["group_id"] = answer.json()["id"]
        if about_a_node(operation):
            make = self.people.folder if "/folders/" in operation else self.people.document
            node = (await make(owner, self.workspace))["id"]
            found |= dict.fromkeys(("document_id", "folder_id", "node_id"), node)
            found["request_id"] = await self._rule(operation, place, node, found.get("principal"))
        if wanted & {"file_id", "attachment_id", "context_file_id"}:
            found |= await self._file(node, thumbnail=operation.endswith("/thumbnail"))
        return found

    async def _file(self, document: str, *, thumbnail: bool) -> dict[str, str]:
        """A file attached to a document, and what makes it the AI's."""
        owner, data = self.persons["owner"].http, picture() if thumbnail else uuid4().bytes.hex().encode()
        body = {
            "workspace_id": self.workspace, "filename": "a.png" if thumbnail else "a.txt", "size": len(data),
            "content_type": "image/png" if thumbnail else "text/plain", "sha256": sha256(data).hexdigest(),
            "document_id": document,
        }  # fmt: skip
        begun = (await owner.post("/v1/files/uploads", json=body)).json()
        [request] = begun["urls"]
        assert (await owner.put(urlsplit(request["url"]).path, content=data)).status_code == 200
        file = (await owner.post(f"/v1/files/uploads/{begun['upload_id']}/complete")).json()
        while file["state"] == "scanning":
            await asyncio.sleep(0.05)
            file = (await owner.get(f"/v1/files/{file['id']}")).json()
        attached = (await owner.get("/v1/files/attachments", params={"document_id": document})).json()["items"]
        made = {"file_id": file["id"], "scope": "document", "document_id": document}
        context = (await owner.post("/v1/context-files", json=made)).json()
        return {"file_id": file["id"], "attachment_id": attached[0]["id"], "context_file_id": context["id"]}

    async def _rule(self, operation: str, place: str, node: str, principal: str | None) -> str:
        """Give a document or folder the rules of a place and a grant; somebody's request for it, if that is wanted."""
        kind = "folders" if "/folders/" in operation else "documents"
        owner, path = self.persons["owner"].http, f"/v1/{kind}/{node}"
        if (roles := PLACES[place]) is not None:
            grants = {f"user:{self.persons[who].id}": role for who, role in roles.items()}
            answer = await owner.put(f"{path}/access", json={"restricted": True, "grants": grants})
            assert answer.status_code == 200, answer.text
        if principal:
            granted = await owner.put(f"{path}/access/{principal}", json={"role": "viewer"})
            assert granted.status_code == 200, granted.text
        if "{request_id}" not in operation:
            return ""
        asked = await self.persons["admin"].http.post(f"{path}/access-requests", json={"role": "owner"})
        assert asked.status_code == 202
        [request] = (await owner.get(f"{path}/access-requests")).json()["items"]
        return str(request["id"])

    async def ask(self, who: str, operation: str, place: str) -> int:
        """Status of the answer to this operation."""
        method, _, path = operation.partition(" ")
        body, query = BODIES.get(operation), QUERIES.get(operation, QUERIES.get(path, {}))
        body = body() if callable(body) else body
        target = await self.target(operation, place, set(re.findall(r"{(\w+)}", f"{path} {body} {query}")))
        http = self.people.client() if who == "anonymous" else self.persons[who].http
        sent = sending(body, target)
        answer = await http.request(
            method,
            filled(path, target),
            **sent,
            params=filled(query, target),
            headers={"If-Match": '"v1"'},
        )
        return answer.status_code


def sending(body: Any, target: dict[str, str]) -> dict[str, Any]:
    """A sample body as httpx takes it: bytes as they are, all else as JSON."""
    return {"content": body} if isinstance(body, bytes) else {"json": filled(body, target)}


def filled(value: Any, target: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {filled(name, target): filled(item, target) for name, item in value.items()}
    if isinstance(value, list):
        return [filled(item, target) for item in value]
    return re.sub(r"\{(\w+)\}", lambda match: target[match[1]], value) if isinstance(value, str) else value


@pytest_asyncio.fixture(scope="module")
async def world(people: People, provider: Running) -> World:
    assert provider
    return await settle(people)


async def settle(people: People) -> World:
    """A new world."""
    owner = await people.person("Owner")
    workspace = await people.workspace(owner)
    persons = {"owner": owner, "stranger": await people.person("Stranger")}
    for role in ("admin", "editor", "commenter", "viewer", "guest", "removed", "suspended"):
        persons[role] = await people.person(role)
        await people.join(workspace, persons[role], "editor" if role in OUTSIDERS else role)
    path = f"/v1/workspaces/{workspace}/members/{persons['suspended'].id}/suspend"
    assert (await owner.http.post(path)).status_code == 200
    gone = await owner.http.delete(f"/v1/workspaces/{workspace}/members/{persons['removed'].id}")
    assert gone.status_code == 204
    return World(people, workspace, persons)


def expected(operation: str, rule: str, who: str, place: str) -> set[int]:
    """Statuses a rule allows: what is refused is refused exactly, what is allowed is anything but refused."""
    if rule == "public":
        return set(range(200, 500)) - {403}
    if who == "anonymous":
        return {401}
    if rule in ("self", "secret"):
        return set(range(200, 500)) - {401, 403}
    if who in OUTSIDERS:
        return {404}
    role: str | None = who
    if about_a_node(operation):  # a guest has only what is granted
        roles = PLACES[place]
        role = roles.get(who) if roles is not None else None if who == "guest" else who
    if role is None or (role == "guest" and "/v1/users/" in operation):
        return {404}
    if operation.endswith("/duplicate"):  # the copy lies at the top, like the original
        role = who
    return {*range(200, 400), 409, 412} if allows(role, Action(rule)) else {403}


def about_a_node(operation: str) -> bool:
    """Whether it is about one document or folder, or a file at a document."""
    return bool(re.search(_ABOUT, operation)) or operation == "POST /v1/context-files"


def picture() -> bytes:
    """A PNG that nobody else has."""
    out = BytesIO()
    Image.frombytes("RGB", (4, 4), uuid4().bytes * 3).save(out, "PNG")
    return out.getvalue()


RULES = [(operation, rule) for service in SERVICES for operation, rule in rules_of(service).items()]
TRIED = [(*pair, place) for pair in RULES for place in (PLACES if about_a_node(pair[0]) else ("open",))]


@pytest.mark.parametrize(("operation", "rule", "place"), TRIED, ids=[f"{one[0]} {one[2]}" for one in TRIED])
async def test_everybody_gets_exactly_what_the_rule_says(
    world: World, people: People, operation: str, rule: str, place: str
) -> None:
    async def ask(who: str) -> int:
        here = await settle(people) if operation in CONSUMING else world
        return await here.ask(who, operation, place)

    got = dict(zip(WHO, await asyncio.gather(*map(ask, WHO)), strict=True))
    wrong = {who: status for who, status in got.items() if status not in expected(operation, rule, who, place)}
    assert wrong == {}, f"{operation} is declared {rule!r}"


def test_the_matrix_covers_every_route(environment: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert environment
    routes = sum(len(operations_of(service)) for service in SERVICES)
    with capsys.disabled():
        print(f"\nisolation matrix: {len(RULES)} of {routes} routes x {len(WHO)} roles, {len(TRIED)} with places")
    assert len(RULES) == routes
