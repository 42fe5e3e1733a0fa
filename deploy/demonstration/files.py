"""A picture and a PDF at a document, a large file whose upload is interrupted; read by a member until they may not."""

import asyncio
import hashlib
import io
import os
import secrets
import struct
import time
import zlib
from pathlib import Path
from typing import Any

import aiohttp

from deploy.client import Person, invitation_token
from deploy.demonstration.ledger import Ledger
from deploy.progress import say

SECONDS = 60.0
LARGE_BYTES = 20 * 1024 * 1024


async def attach(ledger: Ledger, mails: Path) -> None:
    """Play it in a workspace of its own."""
    begun = time.monotonic()
    workspace = await ledger.ada.make_workspace(f"Files {secrets.token_hex(4)}")
    await ledger.ada.invite(workspace, ledger.ben.email)
    await ledger.ben.accept_invitation(await invitation_token(mails, ledger.ben.email))
    document = (await ledger.ada.create(workspace, "With files", b"# With files\n")).json()["id"]
    async with aiohttp.ClientSession() as session, asyncio.timeout(SECONDS):
        shelf = Shelf(ledger, session, workspace, document)
        image = await shelf.put("chart.png", "image/png", _png(320, 200))
        terms = await shelf.put("terms.pdf", "application/pdf", pdf("Terms and conditions"))
        large = await shelf.put("film.bin", "application/octet-stream", os.urandom(LARGE_BYTES), interrupted=True)
        ledger.check(image["thumbnails"] == [256, 1024], f"thumbnails of the picture: {image['thumbnails']}")
        ledger.check((terms["pages"], terms["tokens"] > 0) == (1, True), "the PDF has no text")
        where = {"document_id": document}
        listed = (await ledger.ben.call("GET", "/v1/files/attachments", kind="attachments", params=where)).json()
        ledger.check(len(listed["items"]) == 3, f"{len(listed['items'])} of 3 files are attached")
        access, rules = f"/v1/documents/{document}/access", {"restricted": True}
        await ledger.ada.call("PUT", access, kind="restrict", body=rules)
        gone = await ledger.ben.call("GET", f"/v1/files/{large['id']}/download", kind="download", expect=())
        ledger.check(gone.status == 404, f"a file of a restricted document: {gone.status} in place of 404")
    say(f"  {'files':<16} picture, PDF, 20 MiB resumed in the middle; closed with their document "
        f"({time.monotonic() - begun:.1f} s)")  # fmt: skip


class Shelf:
    """Uploads to one document, read back by the other person."""

    def __init__(
        self,
        ledger: Ledger,
        session: aiohttp.ClientSession,
        workspace: str,
        document: str,
        *,
        reader: Person | None = None,
    ) -> None:
        self._ledger = ledger
        self._reader = reader or ledger.ben
        self._session = session
        self._place = {"workspace_id": workspace, "document_id": document}

    async def put(self, name: str, media_type: str, data: bytes, *, interrupted: bool = False) -> dict[str, Any]:
        """Upload, wait until it is given out, compare what the other person gets."""
        ada, digest = self._ledger.ada, hashlib.sha256(data).hexdigest()
        body = {
            **self._place, "filename": name, "size": len(data), "content_type": media_type, "sha256": digest,
        }  # fmt: skip
        begun = (await ada.call("POST", "/v1/files/uploads", kind="begin upload", expect=(201,), body=body)).json()
        path = f"/v1/files/uploads/{begun['upload_id']}"
        if interrupted:  # all that is known afterwards is the upload's id
            await self._send(begun["urls"][1:2], begun["part_size"], data)
            arrived = [one["part_number"] for one in (await ada.call("GET", path, kind="resume")).json()["received"]]
            missing = [number for number in range(1, begun["parts"] + 1) if number not in arrived]
            self._ledger.check(arrived == [2], f"parts {arrived} have arrived in place of the second")
            wanted = {"part_numbers": missing}
            begun |= (await ada.call("POST", f"{path}/parts", kind="more URLs", body=wanted)).json()
        await self._send(begun["urls"], begun["part_size"], data)
        file: dict[str, Any] = (await ada.call("POST", f"{path}/complete", kind="complete upload")).json()
        while file["state"] == "scanning":
            await asyncio.sleep(0.05)
            file = (await ada.call("GET", f"/v1/files/{file['id']}", kind="read file")).json()
        self._ledger.check(file["state"] == "ready", f"{name} is {file['state']}: {file['problem']}")
        read = await self._read(self._reader, file["id"])
        self._ledger.check(hashlib.sha256(read).hexdigest() == digest, f"{name} is not what was uploaded")
        return file

    async def _send(self, requests: list[dict[str, Any]], part_size: int, data: bytes) -> None:
        async def send(one: dict[str, Any]) -> None:
            at = (one["part_number"] - 1) * part_size
            part = io.BytesIO(data[at : at + one["size"]])
            async with self._session.request(one["method"], one["url"], data=part, headers=one["headers"]) as answer:
                self._ledger.check(answer.status == 200, f"a part was answered {answer.status}")

        await asyncio.gather(*map(send, requests))

    async def _read(self, person: Person, file_id: str) -> bytes:
        answer = await person.call("GET", f"/v1/files/{file_id}/download", kind="download", expect=(302,))
        async with self._session.get(answer.headers["location"]) as body:
            return await body.read()


def _png(width: int, height: int) -> bytes:
    rows = b"".join(b"\0" + bytes((y * 255 // height, 128, 64)) * width for y in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    )


def pdf(text: str) -> bytes:
    """One page that says this."""
    stream = f"BT /F1 24 Tf 72 720 Td ({text}) Tj ET".encode()
    objects = (
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R "
        b"/Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%b\nendstream" % (len(stream), stream),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    )
    out, places = b"%PDF-1.4\n", []
    for number, one in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%b\nendobj\n" % (number, one)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    return out + (
        b"xref\n0 6\n0000000000 65535 f \n%btrailer << /Size 6 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n"
        % (table, len(out))
    )
