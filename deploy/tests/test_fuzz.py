"""Each API against its own contract: schemathesis makes requests of every operation, fitting and unfitting ones.

Most go to things that exist, so that they reach the code behind the first check. No answer may be a 5xx, and each must
have a documented status, media type and body.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import hypothesis
import pytest
import requests
import schemathesis
from deploy.client import Person, invitation_token
from deploy.local.layout import ROOT
from deploy.local.machine import LOOPBACK
from deploy.tests.conftest import Team, Teams
from deploy.tests.processes import Fleet
from deploy.tests.test_isolation import picture
from hypothesis import strategies as st
from schemathesis import APIOperation, Case, GenerationMode, checks, openapi

from common.identifiers import uuid7
from common.revisions import SERVICES
from common.settings import env_prefix

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

EXAMPLES = int(os.environ.get("FUZZ", "25"))
SECRET = {
    "GET /v1/sync/stream",
    "POST /v1/auth/login",
    "POST /v1/auth/refresh",
    "POST /v1/auth/verify-email",
    "POST /v1/invitations/{token}/accept",
    "DELETE /v1/auth/sessions/{session_id}",
    "POST /v1/workspaces/{workspace_id}/leave",
    "POST /v1/files/uploads/{upload_id}/complete",
    "GET /v1/context-files/{context_file_id}/text",
}
"""Operations that cannot succeed with anything made up; the last owner cannot leave; a stream would have no end."""
OPERATIONS = [
    (entity, type_)
    for entity in ("document", "folder")
    for type_ in ("create", "update", "meta", "move", "restore", "resolve")
]
NATIVE = ("/v1/ai/openai/", "/v1/ai/anthropic/")
INPUTS = ("/responses", "/embeddings")
MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
checks.load_all_checks()
CHECKS = [
    schemathesis.checks.CHECKS.get_one(name)
    for name in (
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_schema_conformance",
    )
]


def operations() -> Iterator[tuple[str, APIOperation]]:
    for service in SERVICES:
        contract = openapi.from_path(str(ROOT / "services" / service / "openapi.json"))
        for found in contract.get_all_operations():
            yield service, found.ok()


def _mend(case: Case, operation: APIOperation, places: Mapping[str, Any]) -> None:
    """What a name alone does not say: `after` is a neighbour in bodies, and deleting a workspace needs its name."""
    if isinstance(case.body, dict) and "after" in case.body:
        case.body["after"] = None
    if operation.label == "DELETE /v1/workspaces/{workspace_id}":
        case.query = {"confirm": places["confirm"]}
    if operation.label.startswith("POST /v1/collab/") and operation.label.endswith(("/updates", "/copies")):
        case.body = b"\x00\x00"
    if operation.path.startswith(NATIVE) and isinstance(case.body, dict):
        talk = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 5}
        case.body = {"model": case.body.get("model")} | ({"input": "x"} if operation.path.endswith(INPUTS) else talk)
    if operation.label == "POST /v1/sync/push" and isinstance(case.body, dict):
        _number(case.body.get("ops"), places)


def _number(ops: Any, places: Mapping[str, Any]) -> None:
    """Let operations be the next of their device, and of kinds there are; the rest of them stays as it was made."""
    if not isinstance(ops, list) or not all(isinstance(op, dict) for op in ops):
        return
    for number, op in enumerate(ops, places["last_n"]() + 1):
        entity, type_ = OPERATIONS[number % len(OPERATIONS)]
        op |= {"op_id": str(uuid7()), "n": number, "entity": entity, "type": type_, "id": places[f"{entity}_id"]}


def fuzz(operation: APIOperation, url: str, token: str, places: Mapping[str, Any]) -> Counter[int]:
    """Try an operation; how often each status was answered. Raises schemathesis' failures."""
    answers: Counter[int] = Counter()

    def aim(case: Case) -> Case:
        """Let it meet what exists, wherever it names something."""
        for part in (case.path_parameters, case.query, case.body):
            if isinstance(part, dict):
                part |= {name: place for name, place in places.items() if name in part}
        _mend(case, operation, places)
        if operation.headers.get("if-match"):
            case.headers["if-match"] = places.get("if-match", '"v1"')
        return case

    def cases(mode: GenerationMode) -> st.SearchStrategy[Case]:
        anywhere = operation.as_strategy(mode)
        return st.one_of(anywhere.map(aim), anywhere)

    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {token}"

        for mode in MODES:
            if mode is GenerationMode.NEGATIVE and not (operation.body or list(operation.iter_parameters())):
                continue

            @hypothesis.settings(
                max_examples=EXAMPLES,
                deadline=None,
                database=None,
                derandomize=True,
                suppress_health_check=list(hypothesis.HealthCheck),
                phases=[hypothesis.Phase.generate],
            )
            @hypothesis.given(case=cases(mode))
            def attempt(case: Case) -> None:
                session.headers["X-Forwarded-For"] = f"10.0.0.{answers.total()}"  # limits are per address
                answer = case.call_and_validate(base_url=url, session=session, checks=CHECKS, allow_redirects=False)
                answers[answer.status_code] += 1

            attempt()
    return answers


async def invitation(host: Person, workspace_id: str, mails: Path) -> dict[str, str]:
    """Id and token of an invitation."""
    address = f"guest-{host.email}"
    path, body = f"/v1/workspaces/{workspace_id}/invitations", {"email": address, "role": "viewer"}
    made = await host.call("POST", path, expect=(201,), body=body)
    return {"invitation_id": made.json()["id"], "token": await invitation_token(mails, address)}


async def desk(team: Team, url: str, document: str) -> dict[str, Any]:
    """What is asked about a device that has caught up and left a conflict copy."""
    owner, device = team[0], str(uuid7())
    path, more = f"/v1/sync/devices/{device}", {"Authorization": f"Bearer {owner.token}"}
    await owner.call("PUT", path, expect=(201,), body={"name": "Desk", "platform": "linux"})
    page: dict[str, Any] = {"cursor": None, "page_token": None}
    while page["cursor"] is None:
        body = {"device_id": device, "page_token": page["page_token"]}
        page = (await owner.call("POST", "/v1/sync/bootstrap", body=body)).json()
    update = {"op_id": str(uuid7()), "n": 1, "entity": "document", "type": "update", "id": document, "content": "mine"}
    lost = update | {"base_version": 1, "base_hash": "0" * 64}
    [result] = (await owner.call("POST", "/v1/sync/push", body={"device_id": device, "ops": [lost]})).json()["results"]

    def last_n() -> int:
        number: int = requests.get(url + path, headers=more, timeout=10).json()["last_n"]
        return number

    return {
        "device_id": device, "cursor": page["cursor"], "conflict_id": result["conflict_document_id"], "timeout": 0,
        "scope": f"r:{team.workspace_id}", "buckets": [{"count": 0, "sum": "0" * 16}] * 256, "last_n": last_n,
        "base_version": 1,
    }  # fmt: skip


async def things(team: Team, operation: APIOperation) -> dict[str, Any]:
    """A document, folders and a group, with somebody who has a grant and asks for more at what the path is about."""
    owner, other = team[0], team[1]
    named = {"workspace_id": team.workspace_id, "name": "F"}
    made = [await owner.call("POST", "/v1/folders", expect=(201,), body=named) for _ in range(2)]
    folder, above = (answer.json()["id"] for answer in made)
    path, body = f"/v1/workspaces/{team.workspace_id}/groups", {"name": "Team"}
    group = (await owner.call("POST", path, expect=(201,), body=body)).json()["id"]
    document = await team.document(b"one\ntwo\n")
    kind, node = ("folders", folder) if operation.path.startswith("/v1/folders") else ("documents", document)
    principal, asked = f"user:{other.id}", [{"id": str(uuid4())}]
    if "{node_id}" in operation.path:
        await owner.call("PUT", f"/v1/{kind}/{node}/access/{principal}", body={"role": "editor"})
        await other.call("POST", f"/v1/{kind}/{node}/access-requests", expect=(202,), body={"role": "admin"})
        asked = (await owner.call("GET", f"/v1/{kind}/{node}/access-requests")).json()["items"]
    workspace = (await owner.call("GET", f"/v1/workspaces/{team.workspace_id}")).json()
    return {
        "document_id": document, "folder_id": folder, "parent_id": above, "node_id": node, "group_id": group,
        "principal": principal, "grants": {principal: "viewer"}, "request_id": asked[0]["id"], "add": [other.id],
        "remove": [], "since": "AA", "confirm": workspace["name"], "password": uuid4().hex, "invitation_token": None,
    }  # fmt: skip


async def shelf(team: Team, url: str, document: str) -> dict[str, Any]:
    """A picture at a document that the AI reads along, and an upload under way."""
    owner, data = team[0], picture()
    body = {
        "workspace_id": team.workspace_id, "filename": "a.png", "size": len(data), "content_type": "image/png",
        "sha256": sha256(data).hexdigest(), "document_id": document,
    }  # fmt: skip
    begun = (await owner.call("POST", "/v1/files/uploads", expect=(201,), body=body)).json()
    sent = await asyncio.to_thread(requests.put, url + urlsplit(begun["urls"][0]["url"]).path, data=data, timeout=10)
    assert sent.status_code == 200, sent.text
    file = (await owner.call("POST", f"/v1/files/uploads/{begun['upload_id']}/complete")).json()
    while file["state"] == "scanning":
        file = (await owner.call("GET", f"/v1/files/{file['id']}")).json()
    attached = (await owner.call("GET", "/v1/files/attachments", params={"document_id": document})).json()["items"]
    made = {"file_id": file["id"], "scope": "document", "document_id": document}
    context = (await owner.call("POST", "/v1/context-files", expect=(201,), body=made)).json()
    other = {**body, "sha256": "0" * 64}
    open_ = (await owner.call("POST", "/v1/files/uploads", expect=(201,), body=other)).json()
    return {
        "file_id": file["id"], "attachment_id": attached[0]["id"], "context_file_id": context["id"],
        "upload_id": open_["upload_id"], "ids": [file["id"]], "part_numbers": [1], "scope": "document",
        "if-match": f'"v{file["version"]}"',
    }  # fmt: skip


async def assistance(team: Team, operation: APIOperation) -> dict[str, Any]:
    """Keys of the owner's and the workspace's own, and what the development provider answers to."""
    for query in ("", f"?workspace_id={team.workspace_id}"):
        await team[0].call("PUT", f"/v1/ai/keys/openai{query}", body={"key": "dev-own-fuzz"})
    embeds = operation.path.endswith("/embeddings")
    return {
        "provider": "openai", "scope": "user", "model": "dev-embed" if embeds else "dev-small", "action": "shorten",
        "context_file_ids": [], "edit": False, "language": "German",
    }  # fmt: skip


@pytest.mark.parametrize(("service", "operation"), [pytest.param(*pair, id=pair[1].label) for pair in operations()])
async def test_the_api_keeps_its_contract(ready: Fleet, teams: Teams, service: str, operation: APIOperation) -> None:
    team = await teams.of(2)
    places = {"workspace_id": team.workspace_id, "n": "1", **await things(team, operation)}
    places |= {"user_id": team[1].id, **await invitation(team[0], team.workspace_id, ready.mails)}
    url = f"http://{LOOPBACK}:{ready.environment[f'{env_prefix(service)}PORT']}"
    if operation.path.startswith("/v1/sync") and operation.path != "/v1/sync/stream":
        places |= await desk(team, url, places["document_id"])
    if service == "files":
        places |= await shelf(team, url, places["document_id"])
    if service == "ai-proxy":
        places |= await assistance(team, operation)
    answers = await asyncio.to_thread(fuzz, operation, url, team[0].token, places)
    assert any(status < 400 for status in answers) or operation.label in SECRET, answers
