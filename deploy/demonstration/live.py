"""Two people type into one live document, a third saves it in between: nothing is lost, a version names all three."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from pycrdt import Doc, Text

from collab.domain import wire
from deploy.client import Api, Person, invitation_token
from deploy.demonstration.ledger import Ledger
from deploy.progress import say

SECONDS = 60.0
SOURCE = "# Live\r\n\r\nAda:\r\n\r\nCleo:\r\n\r\nBen:\r\n"
ADA, BEN, CLEO = "writes while Ben writes", "writes while Ada writes", "saved in between"


class Editor:
    """A y-websocket client of a plain text document."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._doc: Doc[Any] = Doc()
        self._arrived = asyncio.Event()
        self._outgoing: asyncio.Queue[bytes] = asyncio.Queue()
        self._applying = False
        self._doc.observe(self._changed)

    @property
    def says(self) -> str:
        """Its text."""
        return str(self._text)

    @property
    def _text(self) -> Text:
        text: Text = self._doc.get("content", type=Text)
        return text

    def _changed(self, event: Any) -> None:
        if not self._applying:
            self._outgoing.put_nowait(wire.update_message(event.update))

    async def type(self, behind: str, words: str) -> None:
        """Key by key, behind something that stands there."""
        for key in words:
            at = self.says.index(behind) + len(behind)
            self._text.insert(len(self.says[:at].encode()), key)
            behind += key
            await asyncio.sleep(0.02)

    async def run(self) -> None:
        """Talk with the server."""
        self._outgoing.put_nowait(wire.state_vector_message(self._doc.get_state()))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._write())
            tasks.create_task(self._read())

    async def _write(self) -> None:
        while True:
            await self._socket.send_bytes(await self._outgoing.get())

    async def _read(self) -> None:
        async for frame in self._socket:
            if frame.data[0] != wire.Kind.SYNC:
                continue
            message = wire.read_message(frame.data)
            if message.step == wire.Step.STATE_VECTOR:
                self._outgoing.put_nowait(wire.diff_message(self._doc.get_update(message.payload)))
                continue
            self._applying = True
            self._doc.apply_update(message.payload)
            self._applying = False
            self._arrived.set()

    async def until(self, condition: Callable[[str], bool]) -> None:
        """Wait until its text is so."""
        while not condition(self.says):
            self._arrived.clear()
            await self._arrived.wait()


@asynccontextmanager
async def _open(session: aiohttp.ClientSession, url: str, person: Person, document: str) -> AsyncIterator[Editor]:
    answer = await person.call("POST", f"/v1/collab/documents/{document}/ticket", kind="ticket")
    where = f"{url}/v1/collab/ws/{document}"
    async with session.ws_connect(where, params={"ticket": answer.json()["ticket"]}, max_msg_size=0) as socket:
        editor = Editor(socket)
        running = asyncio.create_task(editor.run())
        yield editor
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def write_together(ledger: Ledger, api: Api, url: str, mails: Path, password: str) -> None:
    """Play it in a workspace of its own."""
    begun = time.monotonic()
    cleo = await api.sign_up(f"cleo-{secrets.token_hex(4)}@example.org", password, "Cleo")
    workspace_id = await ledger.ada.make_workspace(f"Live {secrets.token_hex(4)}")
    for guest in (ledger.ben, cleo):
        await ledger.ada.invite(workspace_id, guest.email)
        await guest.accept_invitation(await invitation_token(mails, guest.email))
    made = await ledger.ada.create(workspace_id, "Live", SOURCE.encode(), kind="text")
    document = made.json()["id"]
    async with aiohttp.ClientSession() as session, asyncio.timeout(SECONDS):
        async with (
            _open(session, url, ledger.ada, document) as ada,
            _open(session, url, ledger.ben, document) as ben,
        ):
            for editor in (ada, ben):
                await editor.until(lambda text: "Ben:" in text)
            typing = asyncio.gather(ada.type("Ada:", f" {ADA}"), ben.type("Ben:", f" {BEN}"))
            await asyncio.sleep(0.2)
            edit = {"edits": [{"find": "Cleo:", "replace": f"Cleo: {CLEO}"}]}
            path = f"/v1/documents/{document}"
            head = await cleo.call("GET", path, kind="read")
            await cleo.call(
                "PATCH", f"{path}/content", kind="edit", body=edit, headers={"If-Match": head.headers["etag"]}
            )
            await typing
            for editor in (ada, ben):
                await editor.until(lambda text: all(words in text for words in (ADA, BEN, CLEO)))
            ledger.check(ada.says == ben.says, "the two editors do not show the same")
        text = f"# Live\r\n\r\nAda: {ADA}\r\n\r\nCleo: {CLEO}\r\n\r\nBen: {BEN}\r\n"
        while (await cleo.content(document)).body.decode() != text:
            await asyncio.sleep(0.1)
        listed = (await cleo.call("GET", f"{path}/versions", kind="list versions")).json()["items"]
    named = {ledger.ada.id: "Ada", ledger.ben.id: "Ben", cleo.id: "Cleo"}
    ledger.check(listed[0]["origin"] == "live", f"the newest version is of origin {listed[0]['origin']}")
    # On a machine that stands still for seconds there may be a version in the middle, and then each names its own.
    newest = max(listed, key=lambda version: (len(version["contributors"]), version["n"]))
    who = sorted({named.get(one, one) for version in listed for one in version["contributors"]})
    ledger.check(who == ["Ada", "Ben", "Cleo"], f"the versions name {who}")
    who = sorted(named.get(one, one) for one in newest["contributors"])
    say(
        f"  {'live':<16} two typed, one saved in between; version {newest['n']} by {', '.join(who)}, line ends kept "
        f"({time.monotonic() - begun:.1f} s)"
    )
