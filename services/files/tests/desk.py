"""Uploads and downloads of one person, as a client makes them."""

import asyncio
import hashlib
from urllib.parse import urlsplit

SECONDS = 15


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def announced(workspace, data, **fields):
    return {
        "workspace_id": workspace, "filename": "note.txt", "size": len(data), "content_type": "text/plain",
        "sha256": sha256(data), **fields,
    }  # fmt: skip


async def begin(person, workspace, data, **fields):
    answer = await person.http.post("/v1/files/uploads", json=announced(workspace, data, **fields))
    assert answer.status_code == 201, answer.text
    return answer.json()


async def send(person, request, data):
    """Follow a signed request; without a bearer token, as a store would be asked."""
    path = urlsplit(request["url"]).path
    headers = {**request["headers"], "Authorization": ""}
    return await person.http.request(request["method"], path, content=data, headers=headers)


async def send_all(person, begun, data):
    at = 0
    for request in begun["urls"]:
        answer = await send(person, request, data[at : at + request["size"]])
        assert answer.status_code == 200, answer.text
        at += request["size"]


async def complete(person, begun):
    return await person.http.post(f"/v1/files/uploads/{begun['upload_id']}/complete")


async def upload(person, workspace, data, **fields):
    """A file, not examined yet."""
    begun = await begin(person, workspace, data, **fields)
    if begun["deduplicated"]:
        return (await person.http.get(f"/v1/files/{begun['file_id']}")).json()
    await send_all(person, begun, data)
    answer = await complete(person, begun)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def examined(person, file_id):
    """The file, once somebody has looked into it."""
    async with asyncio.timeout(SECONDS):
        while True:
            file = (await person.http.get(f"/v1/files/{file_id}")).json()
            if file["state"] != "scanning":
                return file
            await asyncio.sleep(0.05)


async def location(person, path, status=302):
    answer = await person.http.get(path)
    assert answer.status_code == status, answer.text
    return answer.headers.get("location")


async def fetch(person, url, **headers):
    return await person.http.get(urlsplit(url).path, headers={"Authorization": "", **headers})


async def download(person, file_id):
    answer = await fetch(person, await location(person, f"/v1/files/{file_id}/download"))
    assert answer.status_code == 200, answer.text
    return answer.content
