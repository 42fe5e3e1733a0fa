"""Ids clients choose: one id is one thing, whatever kind it is of, or rules of one would become rules of another."""

import asyncio
from uuid import uuid4

import pytest

from common.testing.checks import problem


@pytest.fixture
async def attack(people):
    """A workspace Mallory is no member of any more, with a document and a restricted folder; and one of hers."""
    ada, mallory = await people.person("Ada"), await people.person("Mallory")
    workspace, hers = await people.workspace(ada), await people.workspace(mallory)
    document = await people.document(ada, workspace, "secret\n")
    folder = (await ada.http.post("/v1/folders", json={"workspace_id": workspace, "name": "Board"})).json()
    await ada.http.put(f"/v1/folders/{folder['id']}/access", json={"restricted": True})
    return ada, mallory, workspace, hers, document, folder


async def test_no_document_or_folder_bears_the_id_of_a_workspace(people, attack):
    """It would be the access root of all that lies in that workspace."""
    _, mallory, workspace, hers, document, _ = attack
    body = {"id": workspace, "workspace_id": hers}
    for restricted in (True, False):
        made = await mallory.http.post("/v1/documents", json=body | {"title": "x", "restricted": restricted})
        problem(made, 409, "document_exists")
    problem(await mallory.http.post("/v1/folders", json=body | {"name": "x"}), 409, "folder_exists")
    own = await people.document(mallory, hers, "own\n")
    copied = await mallory.http.post(f"/v1/documents/{own['id']}/duplicate", json={"id": workspace})
    problem(copied, 409, "document_exists")
    problem(await mallory.http.get(f"/v1/documents/{document['id']}"), 404, "document_not_found")


async def test_no_document_bears_the_id_of_a_folder_nor_the_other_way_round(people, attack):
    ada, mallory, _, hers, document, folder = attack
    made = await mallory.http.post(
        "/v1/documents", json={"id": folder["id"], "workspace_id": hers, "title": "x", "restricted": True}
    )
    problem(made, 409, "document_exists")
    made = await mallory.http.post("/v1/folders", json={"id": document["id"], "workspace_id": hers, "name": "x"})
    problem(made, 409, "folder_exists")
    own = await people.document(mallory, hers, "own\n")
    await mallory.http.put(f"/v1/documents/{own['id']}/access", json={"restricted": True})
    copied = await mallory.http.post(f"/v1/documents/{own['id']}/duplicate", json={"id": folder["id"]})
    problem(copied, 409, "document_exists")
    problem(await mallory.http.get(f"/v1/folders/{folder['id']}"), 404, "folder_not_found")
    assert (await ada.http.get(f"/v1/folders/{folder['id']}/access")).json()["restricted"] is True


async def test_of_two_that_are_made_at_once_with_one_id_one_is(people, attack):
    _, mallory, _, hers, _, _ = attack
    for _ in range(10):
        body = {"id": str(uuid4()), "workspace_id": hers}
        answers = await asyncio.gather(
            mallory.http.post("/v1/documents", json=body | {"title": "x"}),
            mallory.http.post("/v1/folders", json=body | {"name": "x"}),
        )
        assert sorted(answer.status_code for answer in answers) == [201, 409]
