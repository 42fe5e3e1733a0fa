"""Two devices that were offline: what both wrote is merged, or kept twice, and at the end both hold the same."""

import asyncio
import secrets
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp

from common.identifiers import uuid7
from deploy.client import Person, invitation_token
from deploy.demonstration.ledger import Ledger
from deploy.device import Device, SqliteStore
from deploy.progress import say

PATIENCE_SECONDS = 30.0
"""Within which a device must hold what both wrote."""
PLAN = "# Plan\n\nfirst\n\nsecond\n\nthird\n"


async def converge(ledger: Ledger, url: str, mails: Path) -> None:
    """Play it in a workspace of its own."""
    begun = time.monotonic()
    workspace_id = await ledger.ada.make_workspace(f"Devices {secrets.token_hex(4)}")
    await ledger.ada.invite(workspace_id, ledger.ben.email)
    await ledger.ben.accept_invitation(await invitation_token(mails, ledger.ben.email))
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder)
        async with (
            _device(url, ledger.ada, files / "laptop") as laptop,
            _device(url, ledger.ben, files / "phone") as phone,
        ):
            await _play(ledger, workspace_id, laptop, phone)
    say(f"  {'two devices':<16} merged, kept twice, settled; both hold the same ({time.monotonic() - begun:.1f} s)")


@asynccontextmanager
async def _device(url: str, person: Person, file: Path) -> AsyncIterator[Device]:
    store = SqliteStore(file)
    async with aiohttp.ClientSession() as session:
        device = Device(url, lambda: person.token, store, lambda: str(uuid7()), session, name=file.name)
        await device.register()
        yield device
    store.close()


async def _play(ledger: Ledger, workspace_id: str, laptop: Device, phone: Device) -> None:
    apart, same, gone = (laptop.state.create(workspace_id, title, PLAN) for title in ("Apart", "Same", "Gone"))
    laptop.save()
    await laptop.sync()
    for device in (laptop, phone):
        await _until(device, {apart, same, gone})  # the laptop too: without a base an edit is kept twice
    # Offline: nobody hears of anything
    laptop.state.edit(apart, PLAN.replace("first", "FIRST"))
    phone.state.edit(apart, PLAN.replace("third", "THIRD"))
    laptop.state.edit(same, PLAN.replace("second", "by Ada"))
    phone.state.edit(same, PLAN.replace("second", "by Ben"))
    laptop.state.change("document", "delete", gone)
    phone.state.edit(gone, PLAN + "\nstill needed\n")
    notes = phone.state.create(
        workspace_id, "Made offline", "on the train\n", phone.state.create_folder(workspace_id, "F")
    )
    for device in (laptop, phone):
        device.save()
    for device in (laptop, phone):
        await device.sync()
    expected = {
        apart: PLAN.replace("first", "FIRST").replace("third", "THIRD"),
        same: PLAN.replace("second", "by Ada"),
        gone: PLAN + "\nstill needed\n",
        notes: "on the train\n",
    }
    for device in (laptop, phone):
        await _catch_up(device, expected)
        for document, text in expected.items():
            held = device.state.text(document)
            ledger.check(held == text, f"a device has {held!r} in place of {text!r}")
    await _settle(ledger, same, laptop, phone)
    with suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE_SECONDS):
            while _held(laptop) != _held(phone):
                await asyncio.gather(laptop.pull(), phone.pull())
                await asyncio.sleep(0.1)
    ledger.check(_held(laptop) == _held(phone), "the two devices do not hold the same")
    ledger.check(not laptop.state.drafts and not phone.state.drafts, "a device was refused something")


async def _settle(ledger: Ledger, document: str, laptop: Device, phone: Device) -> None:
    conflicts = [one for one in await phone.conflicts() if one["document_id"] == document]
    ledger.check(len(conflicts) == 1, f"{len(conflicts)} conflicts are listed")
    if not conflicts:
        return
    copy = conflicts[0]["copy_id"]
    await _until(laptop, {copy})
    ledger.check(await laptop.fetch(copy) == PLAN.replace("second", "by Ben"), "the copy is not what Ben wrote")
    both = PLAN.replace("second", "by Ada and Ben")
    head: Any = laptop.state.heads["document", document]
    await laptop.resolve(copy, "text", content=both, base_version=head["version"])
    for device in (laptop, phone):
        await _catch_up(device, {document: both})
        await _gone(device, copy)
        ledger.check(await device.fetch(document) == both, "the settled text is not on every device")
    ledger.check(await phone.conflicts() == [], "the conflict is still listed")


async def _until(device: Device, documents: set[str]) -> None:
    """Catch up until these have arrived, as pokes say that there is something."""
    async with aclosing(device.pokes()) as pokes:
        async for _ in pokes:
            await device.pull()
            if all(("document", id_) in device.state.heads for id_ in documents):
                return


async def _catch_up(device: Device, texts: dict[str, str]) -> None:
    """Catch up until it has these; the caller sees what it has when patience ends."""
    with suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                await _until(device, set(texts))
                if {document: await device.fetch(document) for document in texts} == texts:
                    return
                await asyncio.sleep(0.1)


async def _gone(device: Device, document: str) -> None:
    """Catch up until it holds this no more."""
    with suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE_SECONDS):
            while ("document", document) in device.state.heads:
                await device.pull()
                await asyncio.sleep(0.1)


def _held(device: Device) -> dict[Any, Any]:
    return {
        key: (head["version"], head["content_hash"]) for key, head in device.state.heads.items() if key[0] != "member"
    }
