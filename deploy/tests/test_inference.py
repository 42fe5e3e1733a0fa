"""Whoever is not in a workspace cannot tell what is in it from what is nowhere: the answers are the same."""

import re
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
from deploy.tests.test_isolation import BODIES, PLACES, QUERIES, RULES, World, about_a_node, filled, sending, settle

from common.identifiers import uuid7
from common.testing.people import People, Person

IDS = (
    "workspace_id",
    "document_id",
    "folder_id",
    "node_id",
    "group_id",
    "request_id",
    "user_id",
    "invitation_id",
    "device_id",
    "conflict_id",
)
REGISTER = "PUT /v1/sync/devices/{device_id}"  # makes what is nowhere: services/sync/tests test_somebody_elses_device
ASKED = [
    operation
    for operation, rule in RULES
    if rule not in ("public", "secret") and "{" in operation and operation != REGISTER
]
VARYING = ("trace_id", "instance")


@pytest_asyncio.fixture(scope="module")
async def world(people: People) -> World:
    return await settle(people)


def wanted(operation: str) -> set[str]:
    """Parameters of its path and body."""
    return set(re.findall(r"{(\w+)}", f"{operation} {BODIES.get(operation)}"))


def comparable(answer: httpx.Response) -> tuple[int, Any, list[str]]:
    """Status, body without what differs by request, names of the headers."""
    body = answer.json() if answer.content else None
    if isinstance(body, dict):
        body = {name: value for name, value in body.items() if name not in VARYING}
    return answer.status_code, body, sorted(answer.headers)


async def ask(person: Person, operation: str, target: dict[str, str]) -> tuple[int, Any, list[str]]:
    method, _, path = operation.partition(" ")
    body, query = BODIES.get(operation), QUERIES.get(operation, QUERIES.get(path, {}))
    body = body() if callable(body) else body
    answer = await person.http.request(
        method, filled(path, target), **sending(body, target), params=filled(query, target),
        headers={"If-Match": '"v1"'},
    )  # fmt: skip
    return comparable(answer)


@pytest.mark.parametrize("operation", ASKED)
async def test_a_stranger_gets_the_same_answer_for_what_is_there_and_what_is_not(world: World, operation: str) -> None:
    stranger = world.persons["stranger"]
    for place in PLACES if about_a_node(operation) else ("open",):
        there = await world.target(operation, place, wanted(operation))
        nowhere = {name: str(uuid4()) if name in IDS else value for name, value in there.items()}
        if "principal" in there:
            nowhere["principal"] = f"user:{uuid4()}"
        assert await ask(stranger, operation, there) == await ask(stranger, operation, nowhere)


@pytest.mark.parametrize("place", [place for place in PLACES if place != "open"])
@pytest.mark.parametrize("operation", [operation for operation in ASKED if about_a_node(operation)])
async def test_a_member_gets_the_same_answer_for_what_is_hidden_and_what_is_not_there(
    world: World, operation: str, place: str
) -> None:
    """Also inside a workspace: the commenter has no role at any of these places."""
    hidden = await world.target(operation, place, wanted(operation))
    nowhere = hidden | {name: str(uuid4()) for name in ("document_id", "folder_id", "node_id", "request_id")}
    commenter = world.persons["commenter"]
    assert await ask(commenter, operation, hidden) == await ask(commenter, operation, nowhere)


async def test_names_of_other_peoples_things_in_a_request_tell_nothing(people: People, world: World) -> None:
    """Folders, neighbours, workspaces, users and groups of somebody else's workspace, named in one's own."""
    owner, other = world.persons["owner"], await people.person("Other")
    mine = await people.workspace(other)
    document, folder = await people.document(other, mine), await people.folder(other, mine)
    theirs = {
        "folder": (await people.folder(owner, world.workspace))["id"],
        "document": (await people.document(owner, world.workspace))["id"],
        "workspace": world.workspace,
        "user": str(world.persons["viewer"].id),
        "group": (await owner.http.post(f"/v1/workspaces/{world.workspace}/groups", json={"name": "G"})).json()["id"],
    }

    def requests(ids: dict[str, str]) -> list[tuple[str, str, Any]]:
        at, up = f"/v1/documents/{document['id']}", f"/v1/folders/{folder['id']}"
        return [
            ("POST", "/v1/documents", {"workspace_id": mine, "title": "x", "folder_id": ids["folder"]}),
            ("POST", "/v1/documents", {"workspace_id": ids["workspace"], "title": "x"}),
            ("POST", "/v1/folders", {"workspace_id": mine, "name": "x", "parent_id": ids["folder"]}),
            ("POST", "/v1/folders", {"workspace_id": ids["workspace"], "name": "x"}),
            ("PATCH", at, {"folder_id": ids["folder"]}),
            ("PATCH", up, {"parent_id": ids["folder"]}),
            ("PATCH", up, {"after": ids["document"]}),
            ("POST", f"{at}/move", {"folder_id": ids["folder"]}),
            ("POST", f"{at}/move", {"folder_id": None, "after": ids["document"]}),
            ("POST", f"{at}/move", {"folder_id": None, "workspace_id": ids["workspace"]}),
            ("POST", f"{at}/move", {"folder_id": ids["folder"], "workspace_id": ids["workspace"]}),
            ("POST", f"{up}/move", {"parent_id": ids["folder"], "workspace_id": ids["workspace"]}),
            ("POST", f"{at}/duplicate", {"folder_id": ids["folder"]}),
            ("POST", f"{up}/duplicate", {"parent_id": ids["folder"]}),
            ("PUT", f"{at}/access/user:{ids['user']}", {"role": "viewer"}),
            ("PUT", f"{at}/access/group:{ids['group']}", {"role": "viewer"}),
            ("PUT", f"{at}/access", {"grants": {f"group:{ids['group']}": "editor"}}),
            ("PUT", f"/v1/workspaces/{mine}/groups/{ids['group']}/members/{ids['user']}", None),
            ("POST", f"/v1/workspaces/{mine}/transfer", {"user_id": ids["user"]}),
        ]

    nowhere = {name: str(uuid7()) for name in theirs}
    for (method, path, body), (_, twin, twin_body) in zip(requests(theirs), requests(nowhere), strict=True):
        answers = []
        for where, what, ids in ((path, body, theirs), (twin, twin_body, nowhere)):
            answer = await other.http.request(method, where, json=what, headers={"If-Match": '"v1"'})
            assert answer.status_code >= 400, (method, where, what)
            text = str(comparable(answer))
            for name, id_ in ids.items():
                text = text.replace(id_, name)
            answers.append(text)
        assert answers[0] == answers[1], (method, path, body)
