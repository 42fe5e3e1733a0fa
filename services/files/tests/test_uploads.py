"""Uploads: what is kept is what was announced, and nothing else is."""

import asyncio
import json
import os

import pytest
from desk import announced, begin, complete, download, examined, send, send_all, sha256, upload

MIB = 1024 * 1024


async def usage(person, workspace):
    return (await person.http.get("/v1/files/usage", params={"workspace_id": workspace})).json()


def problem(answer, status, code):
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    return answer.json()


async def test_a_small_file_goes_up_and_comes_down(ada, workspace):
    file = await upload(ada, workspace, b"hello\n")
    assert (file["filename"], file["size"], file["sha256"]) == ("note.txt", 6, sha256(b"hello\n"))
    ready = await examined(ada, file["id"])
    assert (ready["state"], ready["content_type"]) == ("ready", "text/plain")
    assert await download(ada, file["id"]) == b"hello\n"
    assert (await usage(ada, workspace))["used"] == 6


async def test_an_upload_is_resumed_part_by_part(ada, workspace):
    data = os.urandom(20 * MIB + 7)
    begun = await begin(ada, workspace, data, content_type="application/octet-stream", filename="big.bin")
    assert (begun["mode"], begun["parts"], [one["size"] for one in begun["urls"]]) == (
        "multipart", 3, [8 * MIB, 8 * MIB, 4 * MIB + 7],
    )  # fmt: skip
    assert (await send(ada, begun["urls"][1], data[8 * MIB : 16 * MIB])).status_code == 200
    cut = await send(ada, begun["urls"][0], data[: 3 * MIB])
    assert cut.status_code == 400, "a truncated part is none"
    standing = (await ada.http.get(f"/v1/files/uploads/{begun['upload_id']}")).json()
    assert standing["received"] == [{"part_number": 2, "size": 8 * MIB}]
    assert problem(await complete(ada, begun), 409, "upload_incomplete")["parts"] == [1, 3]
    path = f"/v1/files/uploads/{begun['upload_id']}/parts"
    urls = (await ada.http.post(path, json={"part_numbers": [1, 3]})).json()["urls"]
    for request in urls:
        at = (request["part_number"] - 1) * 8 * MIB
        assert (await send(ada, request, data[at : at + request["size"]])).status_code == 200
    file = (await complete(ada, begun)).json()
    await examined(ada, file["id"])
    assert sha256(await download(ada, file["id"])) == sha256(data)


async def test_other_bytes_than_announced_are_not_kept(ada, workspace):
    data = os.urandom(9 * MIB)
    begun = await begin(ada, workspace, data, content_type="application/octet-stream")
    await send_all(ada, begun, data[:-1] + bytes([data[-1] ^ 1]))
    problem(await complete(ada, begun), 422, "checksum_mismatch")
    assert problem(await complete(ada, begun), 410, "upload_closed")["problem"] == "checksum_mismatch"
    assert (await usage(ada, workspace)) | {"limit": 0, "available": 0} == {
        "workspace_id": workspace, "used": 0, "reserved": 0, "limit": 0, "available": 0,
    }  # fmt: skip


async def test_html_that_is_called_a_picture_is_refused(ada, workspace):
    data = b"<html><script>alert(1)</script></html>"
    begun = await begin(ada, workspace, data, content_type="image/png", filename="a.png")
    await send_all(ada, begun, data)
    problem(await complete(ada, begun), 422, "type_mismatch")


async def test_completing_again_gives_the_same_file(ada, workspace):
    begun = await begin(ada, workspace, b"twice\n")
    await send_all(ada, begun, b"twice\n")
    first, second = (await complete(ada, begun)).json(), (await complete(ada, begun)).json()
    assert first["id"] == second["id"] == begun["file_id"]


async def test_two_clients_complete_one_upload(ada, workspace):
    begun = await begin(ada, workspace, b"both\n")
    await send_all(ada, begun, b"both\n")
    answers = await asyncio.gather(*(complete(ada, begun) for _ in range(4)))
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert {answer.json()["id"] for answer in answers if answer.status_code == 200} == {begun["file_id"]}
    assert (await usage(ada, workspace))["used"] == 5


async def test_the_same_bytes_are_stored_once(ada, workspace):
    one, two = [await upload(ada, workspace, b"same\n", filename=name) for name in ("a.txt", "b.txt")]
    assert one["id"] != two["id"]
    assert (await usage(ada, workspace))["used"] == 5


async def test_knowing_a_hash_of_somebody_elses_file_gives_nothing(people, ada, workspace):
    bob = await people.person("Bob")
    await people.join(workspace, bob, "editor")
    document = await people.document(ada, workspace, restricted=True)
    await upload(ada, workspace, b"secret\n", document_id=document["id"])
    begun = await begin(bob, workspace, b"secret\n")
    assert not begun["deduplicated"], "the bytes have to be shown"
    await send_all(bob, begun, b"secret\n")
    assert (await complete(bob, begun)).status_code == 200
    assert (await usage(ada, workspace))["used"] == 7, "then they are stored once all the same"


@pytest.mark.parametrize(
    "name", ["", "..", "a/b", "..\\a", "a\0b", "a\nb", "cod\u202egnp.exe", "x" * 256, "\ud800", "é" * 128]
)
async def test_names_that_are_none_are_refused(ada, workspace, name):
    body = announced(workspace, b"x")
    text = json.dumps({**body, "filename": name})
    answer = await ada.http.post(
        "/v1/files/uploads", content=text.encode(), headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 422, answer.text


async def test_more_than_five_gibibytes_are_refused(ada, workspace):
    body = announced(workspace, b"x", size=5 * 1024 * MIB + 1)
    problem(await ada.http.post("/v1/files/uploads", json=body), 413, "file_too_large")


async def test_the_quota_holds_for_fifty_at_once(fleet, ada, workspace):
    size, fits = 1000, 7
    limit = fits * size + size - 1
    terms = fleet["files"].app.state.resources.terms
    object.__setattr__(terms, "quota_bytes", limit)
    try:
        bodies = [announced(workspace, bytes([n]) * size, content_type="application/octet-stream") for n in range(50)]
        answers = await asyncio.gather(*(ada.http.post("/v1/files/uploads", json=body) for body in bodies))
    finally:
        object.__setattr__(terms, "quota_bytes", 10 * 1024 * MIB)
    made = [answer.json() for answer in answers if answer.status_code == 201]
    assert len(made) == fits
    refused = [answer.json() for answer in answers if answer.status_code != 201]
    assert {(one["code"], one["available"]) for one in refused} == {("quota_exceeded", size - 1)}
    assert (await usage(ada, workspace))["reserved"] == fits * size
    for one in made:
        assert (await ada.http.delete(f"/v1/files/uploads/{one['upload_id']}")).status_code == 204
    assert (await usage(ada, workspace))["reserved"] == 0


async def test_what_was_sent_cannot_be_changed_afterwards(ada, workspace):
    begun = await begin(ada, workspace, b"first\n")
    await send_all(ada, begun, b"first\n")
    file = (await complete(ada, begun)).json()
    assert (await send(ada, begun["urls"][0], b"other\n")).status_code == 412
    await examined(ada, file["id"])
    assert await download(ada, file["id"]) == b"first\n"


async def test_an_upload_is_nobody_elses_business(people, ada, workspace):
    bob = await people.person("Bob")
    await people.join(workspace, bob, "owner")
    begun = await begin(ada, workspace, b"mine\n")
    path = f"/v1/files/uploads/{begun['upload_id']}"
    problem(await bob.http.get(path), 404, "upload_not_found")
    problem(await bob.http.post(path + "/complete"), 404, "upload_not_found")
    problem(await bob.http.delete(path), 404, "upload_not_found")


async def test_a_key_makes_a_repeated_request_one_upload(ada, workspace):
    body = announced(workspace, b"once\n")
    headers = {"Idempotency-Key": "k1"}
    first, again = [await ada.http.post("/v1/files/uploads", json=body, headers=headers) for _ in range(2)]
    assert first.json() == again.json()
    assert (await usage(ada, workspace))["reserved"] == 5


async def test_who_may_only_read_uploads_nothing(people, ada, workspace):
    viewer, stranger = await people.person("Vic"), await people.person("Sam")
    await people.join(workspace, viewer, "viewer")
    body = announced(workspace, b"x")
    problem(await viewer.http.post("/v1/files/uploads", json=body), 403, "action_forbidden")
    problem(await stranger.http.post("/v1/files/uploads", json=body), 404, "workspace_not_found")
