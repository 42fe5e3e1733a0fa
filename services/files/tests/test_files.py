"""Files: read where their documents are, given out by URLs that end soon."""

import asyncio
import io
import struct
import zlib
from urllib.parse import parse_qs, urlsplit

import pytest
from desk import download, examined, fetch, location, upload
from PIL import Image

from common.identifiers import uuid7
from files.service import Caretaker, Grace


def picture(width=640, height=480):
    out = io.BytesIO()
    Image.radial_gradient("L").resize((width, height)).save(out, "PNG")
    return out.getvalue()


async def restrict(person, document):
    answer = await person.http.put(f"/v1/documents/{document['id']}/access", json={"restricted": True})
    assert answer.status_code == 200, answer.text


async def status(person, file_id):
    return (await person.http.get(f"/v1/files/{file_id}")).status_code


async def attach(person, file_id, document_id):
    body = {"file_id": file_id, "document_id": document_id}
    return await person.http.post("/v1/files/attachments", json=body)


async def attachments(person, document_id):
    answer = await person.http.get("/v1/files/attachments", params={"document_id": document_id})
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


async def until(condition, seconds=15):
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.05)


@pytest.fixture
async def bob(people, workspace):
    bob = await people.person("Bob")
    await people.join(workspace, bob, "editor")
    return bob


async def test_a_file_is_read_where_its_document_is_read_and_not_a_second_longer(people, ada, bob, workspace):
    document = await people.document(ada, workspace)
    file = await upload(ada, workspace, b"plans\n", document_id=document["id"])
    await examined(ada, file["id"])
    assert await download(bob, file["id"]) == b"plans\n"
    await restrict(ada, document)
    assert await status(bob, file["id"]) == 404
    assert (await bob.http.get(f"/v1/files/{file['id']}/download")).status_code == 404
    answer = await bob.http.post("/v1/files/urls", json={"ids": [file["id"]]})
    assert answer.json()["items"] == [{"id": file["id"], "url": None, "expires_at": None}]
    listed = await bob.http.get("/v1/files", params={"workspace_id": workspace})
    assert listed.json()["items"] == []
    assert await download(ada, file["id"]) == b"plans\n"


async def test_a_document_moved_to_where_fewer_people_read_takes_its_files_along(people, ada, bob, workspace):
    folder = await people.folder(ada, workspace)
    rules = await ada.http.put(f"/v1/folders/{folder['id']}/access", json={"restricted": True})
    assert rules.status_code == 200
    document = await people.document(ada, workspace)
    file = await upload(ada, workspace, b"moved\n", document_id=document["id"])
    assert await status(bob, file["id"]) == 200
    moved = await ada.http.post(f"/v1/documents/{document['id']}/move", json={"folder_id": folder["id"]})
    assert moved.status_code == 200, moved.text
    assert await status(bob, file["id"]) == 404


async def test_a_file_at_two_documents_is_read_by_who_reads_one_of_them(people, ada, bob, workspace):
    mine, ours = await people.document(ada, workspace, restricted=True), await people.document(ada, workspace)
    file = await upload(ada, workspace, b"both\n", document_id=mine["id"])
    assert await status(bob, file["id"]) == 404
    assert (await attach(ada, file["id"], ours["id"])).status_code == 201
    assert (await attach(ada, file["id"], ours["id"])).status_code == 201, "again changes nothing"
    assert await status(bob, file["id"]) == 200
    [attachment] = await attachments(bob, ours["id"])
    assert attachment["file"]["id"] == file["id"]
    refused = await bob.http.delete(f"/v1/files/{file['id']}")
    assert (refused.status_code, refused.json()["code"]) == (409, "file_in_use"), "it is attached where he cannot edit"
    assert (await bob.http.delete(f"/v1/files/attachments/{attachment['id']}")).status_code == 204
    assert await status(bob, file["id"]) == 404
    assert await status(ada, file["id"]) == 200


async def test_linking_needs_reading_the_file_and_editing_the_document(people, ada, bob, workspace):
    viewer = await people.person("Vic")
    await people.join(workspace, viewer, "viewer")
    secret = await people.document(ada, workspace, restricted=True)
    document = await people.document(ada, workspace)
    hidden = await upload(ada, workspace, b"hidden\n", document_id=secret["id"])
    open_ = await upload(ada, workspace, b"open\n")
    assert (await attach(bob, hidden["id"], document["id"])).json()["code"] == "file_not_found"
    assert (await attach(bob, open_["id"], secret["id"])).json()["code"] == "document_not_found"
    assert (await attach(viewer, open_["id"], document["id"])).json()["code"] == "action_forbidden"
    assert (await attach(bob, open_["id"], str(uuid7()))).json()["code"] == "document_not_found"


async def test_who_only_reads_a_file_attaches_a_copy_of_it(people, ada, bob, workspace):
    """Else they could rename it, stand in the way of its deletion and keep it after they had to leave."""
    viewer = await people.person("Vi")
    await people.join(workspace, viewer, "viewer")
    document = await people.document(ada, workspace)
    mine = await people.document(ada, workspace)
    granted = {"restricted": True, "grants": {f"user:{viewer.id}": "editor", f"user:{ada.id}": "owner"}}
    assert (await ada.http.put(f"/v1/documents/{mine['id']}/access", json=granted)).status_code == 200
    file = await upload(ada, workspace, b"read by many\n", document_id=document["id"])
    await examined(ada, file["id"])
    made = await attach(viewer, file["id"], mine["id"])
    assert made.status_code == 201, made.text
    copy = made.json()["file"]
    assert (copy["id"] != file["id"], copy["filename"]) == (True, file["filename"])
    again = await attach(viewer, file["id"], mine["id"])
    assert again.json()["file"]["id"] == copy["id"], "doing so again changes nothing"
    tag = {"If-Match": f'"v{copy["version"]}"'}
    assert (await viewer.http.patch(f"/v1/files/{copy['id']}", json={"filename": "b"}, headers=tag)).status_code == 200
    refused = await viewer.http.patch(f"/v1/files/{file['id']}", json={"filename": "b"}, headers=tag)
    assert refused.status_code == 403
    assert (await ada.http.delete(f"/v1/files/{file['id']}")).status_code == 204
    assert await download(viewer, copy["id"]) == b"read by many\n"
    usage = await ada.http.get("/v1/files/usage", params={"workspace_id": workspace})
    assert usage.json()["used"] == len(b"read by many\n"), "the bytes are kept once"


async def test_a_file_is_not_attached_in_another_workspace(people, ada, bob, workspace):
    elsewhere = await people.document(bob, await people.workspace(bob, "Bob's"))
    file = await upload(ada, workspace, b"ours\n")
    refused = await attach(bob, file["id"], elsewhere["id"])
    assert (refused.status_code, refused.json()["code"]) == (422, "document_elsewhere")


async def test_a_file_at_documents_of_two_workspaces_is_renamed_only_by_its_own(people, ada, bob, workspace):
    other = await people.workspace(bob, "Other")
    await people.join(other, ada, "editor")
    document, moved = await people.document(ada, workspace), await people.document(ada, workspace)
    file = await upload(ada, workspace, b"shared\n", document_id=document["id"])
    assert (await attach(ada, file["id"], moved["id"])).status_code == 201
    body = {"folder_id": None, "workspace_id": other}
    assert (await ada.http.post(f"/v1/documents/{moved['id']}/move", json=body)).status_code == 200
    stranger = await people.person("Sol")
    await people.join(other, stranger, "editor")

    async def readable():
        return await status(stranger, file["id"]) == 200

    await until(readable)
    tag = {"If-Match": f'"v{file["version"]}"'}
    refused = await stranger.http.patch(f"/v1/files/{file['id']}", json={"filename": "b"}, headers=tag)
    assert (refused.status_code, refused.json()["code"]) == (403, "action_forbidden")


async def test_what_is_attached_to_nothing_is_left_to_who_brought_it_and_collected(fleet, people, ada, bob, workspace):
    document = await people.document(ada, workspace)
    file = await upload(ada, workspace, b"orphan\n", document_id=document["id"])
    [attachment] = await attachments(ada, document["id"])
    assert (await bob.http.delete(f"/v1/files/attachments/{attachment['id']}")).status_code == 204
    assert (await status(ada, file["id"]), await status(bob, file["id"])) == (200, 404)
    assert (await attach(ada, file["id"], document["id"])).status_code == 201, "within the grace it can come back"
    assert await status(bob, file["id"]) == 200
    [attachment] = await attachments(ada, document["id"])
    assert (await ada.http.delete(f"/v1/files/attachments/{attachment['id']}")).status_code == 204
    own = fleet["files"].app.state
    at_once = Caretaker(own.platform.worker, own.resources.objects, Grace(0, 0))
    for _ in range(2):  # bytes are unused once the file is gone
        await at_once.tidy()
    assert await status(ada, file["id"]) == 404
    assert (await ada.http.get("/v1/files/usage", params={"workspace_id": workspace})).json()["used"] == 0
    assert [one async for one in own.resources.objects.listed(f"files/{workspace}/")] == []


async def test_a_copy_of_a_document_has_its_files(people, ada, bob, workspace):
    document = await people.document(ada, workspace)
    file = await upload(ada, workspace, b"copied\n", document_id=document["id"])
    copy = await ada.http.post(f"/v1/documents/{document['id']}/duplicate", json={})
    assert copy.status_code == 201, copy.text

    async def attached():
        return [one["file"]["id"] for one in await attachments(ada, copy.json()["id"])] == [file["id"]]

    await until(attached)


async def test_files_are_deleted_with_their_document_unless_they_are_attached_elsewhere(people, ada, workspace):
    document, other = await people.document(ada, workspace), await people.document(ada, workspace)
    alone = await upload(ada, workspace, b"alone\n", document_id=document["id"])
    shared = await upload(ada, workspace, b"shared\n", document_id=document["id"])
    assert (await attach(ada, shared["id"], other["id"])).status_code == 201
    loose = await upload(ada, workspace, b"loose\n")
    assert (await attach(ada, loose["id"], document["id"])).status_code == 201
    context = {"file_id": loose["id"], "document_id": document["id"], "scope": "document"}
    made = await ada.http.post("/v1/context-files", json=context)
    assert made.status_code == 201, made.text
    path = f"/v1/documents/{document['id']}"
    assert (await ada.http.delete(path)).status_code == 204
    assert await status(ada, alone["id"]) == 200, "as long as the document can come back"
    assert (await ada.http.delete(path, params={"permanent": "true"})).status_code == 204

    async def deleted():
        return await status(ada, alone["id"]) == 404

    await until(deleted)
    assert [await status(ada, file["id"]) for file in (shared, loose)] == [200, 200]
    assert [one["file"]["id"] for one in await attachments(ada, other["id"])] == [shared["id"]]
    assert (await ada.http.get(f"/v1/context-files/{made.json()['id']}")).status_code == 404
    assert (await attach(ada, shared["id"], document["id"])).json()["code"] == "document_not_found"


async def test_files_follow_their_document_to_another_workspace_and_count_there(people, ada, workspace):
    other = await people.workspace(ada, "Other")
    document = await people.document(ada, workspace)
    file = await upload(ada, workspace, b"moving\n", document_id=document["id"])
    body = {"folder_id": None, "workspace_id": other}
    assert (await ada.http.post(f"/v1/documents/{document['id']}/move", json=body)).status_code == 200

    async def moved():
        return (await ada.http.get(f"/v1/files/{file['id']}")).json()["workspace_id"] == other

    await until(moved)
    await examined(ada, file["id"])
    assert await download(ada, file["id"]) == b"moving\n"
    usage = await ada.http.get("/v1/files/usage", params={"workspace_id": other})
    assert usage.json()["used"] == 7


async def test_a_picture_has_dimensions_thumbnails_and_is_shown(ada, workspace):
    data = picture()
    file = await upload(ada, workspace, data, filename="größe 1.png", content_type="image/png")
    ready = await examined(ada, file["id"])
    assert (ready["state"], ready["width"], ready["height"], ready["thumbnails"]) == ("ready", 640, 480, [256, 1024])
    url = await location(ada, f"/v1/files/{file['id']}/thumbnail?size=100")
    shown = await fetch(ada, url)
    assert (shown.status_code, shown.headers["content-type"]) == (200, "image/webp")
    assert max(Image.open(io.BytesIO(shown.content)).size) == 256
    inline = await fetch(ada, await location(ada, f"/v1/files/{file['id']}/download?disposition=inline"))
    assert inline.headers["content-disposition"].startswith('inline; filename="gro')
    assert "filename*=UTF-8''gr%C3%B6%C3%9Fe%201.png" in inline.headers["content-disposition"]
    assert inline.headers["x-content-type-options"] == "nosniff"
    assert inline.content == data


async def test_what_could_run_a_script_is_never_shown(ada, workspace):
    data = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    file = await upload(ada, workspace, data, filename="a.svg", content_type="image/svg+xml")
    await examined(ada, file["id"])
    answer = await fetch(ada, await location(ada, f"/v1/files/{file['id']}/download?disposition=inline"))
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["content-type"] == "application/octet-stream"


async def test_ranges_and_conditional_requests(ada, workspace):
    file = await upload(ada, workspace, b"0123456789")
    await examined(ada, file["id"])
    url = await location(ada, f"/v1/files/{file['id']}/download")
    part = await fetch(ada, url, Range="bytes=2-4")
    assert (part.status_code, part.content, part.headers["content-range"]) == (206, b"234", "bytes 2-4/10")
    same = await fetch(ada, url, **{"If-None-Match": part.headers["etag"]})
    assert same.status_code == 304
    assert (await fetch(ada, url, Range="bytes=10-")).status_code == 416


async def test_a_huge_picture_is_rejected_and_not_given_out(ada, workspace):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    file = await upload(ada, workspace, bomb + chunk(b"IEND", b""), filename="a.png", content_type="image/png")
    found = await examined(ada, file["id"])
    assert (found["state"], found["problem"]) == ("rejected", "image_too_large")
    refused = await ada.http.get(f"/v1/files/{file['id']}/download")
    assert (refused.status_code, refused.json()["code"]) == (403, "file_rejected")


async def test_urls_for_a_page_full_of_pictures(ada, workspace):
    files = [await upload(ada, workspace, picture(20 + n, 20), content_type="image/png") for n in range(3)]
    for file in files:
        await examined(ada, file["id"])
    ids = [file["id"] for file in files] + [str(uuid7())]
    items = (await ada.http.post("/v1/files/urls", json={"ids": ids})).json()["items"]
    assert [item["id"] for item in items] == ids
    assert items[3]["url"] is None
    for item in items[:3]:
        assert (await fetch(ada, item["url"])).status_code == 200


async def test_a_copy_of_a_file_s_name_needs_the_version_one_has_seen(ada, workspace):
    file = await upload(ada, workspace, b"named\n")
    file = await examined(ada, file["id"])
    path, tag = f"/v1/files/{file['id']}", {"If-Match": f'"v{file["version"]}"'}
    assert (await ada.http.patch(path, json={"filename": "b.txt"})).status_code == 428
    renamed = await ada.http.patch(path, json={"filename": "b.txt"}, headers=tag)
    assert (renamed.status_code, renamed.json()["filename"]) == (200, "b.txt")
    stale = await ada.http.patch(path, json={"filename": "c.txt"}, headers=tag)
    assert (stale.status_code, stale.json()["code"]) == (412, "version_stale")


async def test_context_files_give_text_by_tokens(people, ada, bob, workspace):
    text = "\n\n".join(f"Paragraph {n} about cheese and wine." for n in range(400))
    file = await upload(ada, workspace, text.encode(), filename="notes.md", content_type="text/markdown")
    await examined(ada, file["id"])
    made = await ada.http.post("/v1/context-files", json={"file_id": file["id"], "scope": "workspace"})
    assert made.status_code == 201, made.text
    path = f"/v1/context-files/{made.json()['id']}"
    whole = (await bob.http.get(path + "/text")).json()
    assert "".join(page["text"] for page in whole["pages"]).count("cheese") == 400
    assert whole["tokens"] == whole["total_tokens"] > 1000
    some = (await bob.http.get(path + "/text", params={"max_tokens": 100})).json()
    assert (some["tokens"], some["truncated"]) == (100, True)
    private = await ada.http.post("/v1/context-files", json={"file_id": file["id"], "scope": "user"})
    assert (await bob.http.get(f"/v1/context-files/{private.json()['id']}")).status_code == 404
    listed = await bob.http.get("/v1/context-files", params={"workspace_id": workspace})
    assert [one["id"] for one in listed.json()["items"]] == [made.json()["id"]]
    assert (await ada.http.delete(path)).status_code == 204
    assert (await ada.http.get(path)).status_code == 404


async def test_a_url_is_good_for_half_a_minute_at_most(ada, workspace):
    file = await upload(ada, workspace, b"soon\n")
    await examined(ada, file["id"])
    url = await location(ada, f"/v1/files/{file['id']}/download")
    assert not parse_qs(urlsplit(url).query)
    answer = await fetch(ada, url)
    assert int(answer.headers["cache-control"].rpartition("=")[2]) <= 30
