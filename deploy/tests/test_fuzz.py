"""Each API against its own contract: schemathesis makes requests of every operation, fitting and unfitting ones.

Most go to things that exist, so that they reach the code behind the first check. No answer may be a 5xx, and each must
have a documented status, media type and body.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
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
from hypothesis import strategies as st
from schemathesis import APIOperation, Case, GenerationMode, checks, openapi

from common.revisions import SERVICES
from common.settings import env_prefix

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

EXAMPLES = 50
SECRET = {
    # need a registered device, a cursor or a conflict: services/sync/tests go all the way
    "POST /v1/sync/bootstrap",
    "POST /v1/sync/conflicts/{conflict_id}/resolve",
    "DELETE /v1/sync/devices/{device_id}",
    "GET /v1/sync/devices/{device_id}",
    "POST /v1/sync/poll",
    "POST /v1/sync/pull",
    "POST /v1/sync/push",
    "GET /v1/sync/stream",
    "POST /v1/sync/verify",
    "POST /v1/auth/login",
    "POST /v1/auth/refresh",
    "POST /v1/auth/verify-email",
    "POST /v1/invitations/{token}/accept",
    "DELETE /v1/auth/sessions/{session_id}",
    "POST /v1/workspaces/{workspace_id}/leave",
}
"""Operations that cannot succeed with anything made up; the last owner cannot leave."""
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
            case.headers["if-match"] = '"v1"'
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
                answers[case.call_and_validate(base_url=url, session=session, checks=CHECKS).status_code] += 1

            attempt()
    return answers


async def invitation(host: Person, workspace_id: str, mails: Path) -> dict[str, str]:
    """Id and token of an invitation."""
    address = f"guest-{host.email}"
    path, body = f"/v1/workspaces/{workspace_id}/invitations", {"email": address, "role": "viewer"}
    made = await host.call("POST", path, expect=(201,), body=body)
    return {"invitation_id": made.json()["id"], "token": await invitation_token(mails, address)}


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
        "remove": [], "confirm": workspace["name"], "password": uuid4().hex, "invitation_token": None,
    }  # fmt: skip


@pytest.mark.parametrize(("service", "operation"), [pytest.param(*pair, id=pair[1].label) for pair in operations()])
async def test_the_api_keeps_its_contract(ready: Fleet, teams: Teams, service: str, operation: APIOperation) -> None:
    team = await teams.of(2)
    places = {"workspace_id": team.workspace_id, "n": "1", **await things(team, operation)}
    places |= {"user_id": team[1].id, **await invitation(team[0], team.workspace_id, ready.mails)}
    url = f"http://{LOOPBACK}:{ready.environment[f'{env_prefix(service)}PORT']}"
    answers = await asyncio.to_thread(fuzz, operation, url, team[0].token, places)
    assert any(status < 300 for status in answers) or operation.label in SECRET, answers
