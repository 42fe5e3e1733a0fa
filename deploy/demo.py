"""`make demo [DIR=folder]`: the main job on real Markdown through the gateway, with every claim verified.

Two people sign up, one invites the other; they import a tree of Markdown document by document, save on stale bases at
the same time, append, compare and restore versions, use the trash, and read the audit trail; two devices that were
offline come together; files go up, one of them interrupted; the AI answers from a PDF and proposes an edit that is
taken over; two people type into one live document while a third saves it. Exits 1 naming everything that is not as it
should be. DEMO_DOCUMENTS sets how many are taken at most (500).
"""

import asyncio
import os
import secrets
import sys
import time
from collections.abc import Mapping
from itertools import cycle
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from deploy.client import (  # noqa: E402
    Api,
    NotLoopbackError,
    UnexpectedAnswerError,
    UnreachableError,
    base_url,
    invitation_token,
    require_loopback,
)
from deploy.demonstration import (  # noqa: E402
    assistant,
    audit,
    devices,
    earlier,
    files,
    history,
    live,
    report,
    tracing,
    tree,
    writing,
)
from deploy.demonstration.ledger import Document, Ledger  # noqa: E402
from deploy.progress import say  # noqa: E402

EDITED = 200
COMPARED = 40
TRASHED = 5


class Demo:
    """One run against one fleet."""

    def __init__(self, api: Api, url: str, mails: Path, state: Path) -> None:
        self._api = api
        self._url = url
        self._mails = mails
        self._state = state
        self._password = secrets.token_urlsafe(18)

    async def run(self, found: tree.Tree) -> Ledger:
        """Everything, in order; what is off is in the ledger."""
        said, wrong = await earlier.verify(self._api, self._state)
        say(f"  {'earlier run':<16} {said}")
        ledger = await self._people()
        ledger.wrong += wrong
        await self._import(ledger, found)
        if not ledger.documents:
            return ledger
        await self._write(ledger)
        await self._look_back(ledger)
        await tracing.save_traced(ledger, ledger.documents[0], self._state / "telemetry")
        await self._verify_all(ledger)
        await audit.verify(ledger)
        await devices.converge(ledger, self._url, self._mails)
        await files.attach(ledger, self._mails)
        await assistant.help_out(ledger)
        await live.write_together(ledger, self._api, self._url, self._mails, self._password)
        if not ledger.wrong:
            earlier.remember(self._state, ledger, self._password)
        return ledger

    async def _people(self) -> Ledger:
        """Ada opens a workspace and invites Ben by mail."""
        run = secrets.token_hex(4)
        ada = await self._api.sign_up(f"ada-{run}@example.org", self._password, "Ada")
        ben = await self._api.sign_up(f"ben-{run}@example.org", self._password, "Ben")
        workspace_id = await ada.make_workspace(f"Demo {run}")
        await ada.invite(workspace_id, ben.email)
        await ben.accept_invitation(await invitation_token(self._mails, ben.email))
        ledger = Ledger(ada, ben, workspace_id)
        await self._verify_members(ledger)
        say(f"  {'people':<16} {ada.email} invited {ben.email}")
        return ledger

    async def _verify_members(self, ledger: Ledger) -> None:
        path = f"/v1/workspaces/{ledger.workspace_id}/members"
        roles = {item["user_id"]: item["role"] for item in await ledger.ben.pages(path, "list members")}
        ledger.check(roles == {ledger.ada.id: "owner", ledger.ben.id: "editor"}, f"the members are {roles}")

    async def _import(self, ledger: Ledger, found: tree.Tree) -> None:
        people = cycle(((ledger.ada, ledger.ben), (ledger.ben, ledger.ada)))

        async def one(item: tree.Found) -> None:
            author, reader = next(people)
            document = await writing.import_file(ledger, item, author)
            ledger.documents.append(document)
            await writing.verify(ledger, document, reader)

        progress = await ledger.each("import", found.found, one)
        ledger.documents.sort(key=lambda document: document.name)
        progress.done(f"{len(ledger.documents):,} documents, {found.size:,} bytes, read back by the other person")

    async def _write(self, ledger: Ledger) -> None:
        documents = [document for document in ledger.documents if writing.editable(document)][:EDITED]
        progress = await ledger.each("stale, apart", documents, lambda item: writing.save_disjoint(ledger, item))
        progress.done(f"two saves on one base, {len(documents):,} times: both edits in the text")
        progress = await ledger.each("stale, overlap", documents, lambda item: writing.save_overlapping(ledger, item))
        progress.done(f"one of two refused and redone, {len(documents):,} times: nothing lost")
        progress = await ledger.each("append", documents, lambda item: writing.append_both(ledger, item))
        progress.done(f"two appends to one base, {len(documents):,} times: both kept")

    async def _look_back(self, ledger: Ledger) -> None:
        worked_on = [document for document in ledger.documents if len(document.contents) > 1][:COMPARED]
        progress = await ledger.each("versions", worked_on, lambda item: history.verify_versions(ledger, item))
        progress.done(f"{sum(len(item.contents) for item in worked_on):,} versions listed and read back")
        progress = await ledger.each("diff", worked_on, lambda item: history.verify_diffs(ledger, item))
        progress.done(f"{len(worked_on):,} documents: applying the diffs gives the texts")
        restored = worked_on[::2]
        progress = await ledger.each("restore", restored, lambda item: history.restore_first(ledger, item))
        progress.done(f"{len(restored):,} documents are byte for byte their first version again")
        trashed = ledger.documents[:TRASHED]
        progress = await ledger.each("trash", trashed, lambda item: history.trash_and_take_back(ledger, item))
        progress.done(f"{len(trashed):,} documents trashed and taken back")

    async def _verify_all(self, ledger: Ledger) -> None:
        listed = await history.listed(ledger.ben, ledger.workspace_id)
        expected = {document.id for document in ledger.documents}
        ledger.check(listed == expected, f"the list names {len(listed):,} documents, {len(expected):,} were made")

        async def one(document: Document) -> None:
            await writing.verify(ledger, document, ledger.ada)

        progress = await ledger.each("final check", ledger.documents, one)
        progress.done(f"{len(ledger.documents):,} documents are what was accepted last")


async def main(arguments: list[str], environment: Mapping[str, str]) -> int:
    """Exit code: 0 if all is as it should be, 1 if not, 2 if it could not be tried."""
    folder = " ".join(arguments).strip()
    try:
        url = require_loopback(base_url(environment))
        limit = int(environment.get("DEMO_DOCUMENTS") or tree.DEFAULT_DOCUMENTS)
        found = tree.of_folder(Path(folder).expanduser(), limit) if folder else tree.of_this_product(ROOT, limit)
        mails, state = Path(environment["MDC_MAIL_DIR"]), Path(environment["MDC_STATE_DIR"])
    except (NotLoopbackError, NotADirectoryError, ValueError) as error:
        say(str(error))
        return 2
    except KeyError as error:
        say(f"{error.args[0]} is not set: start this with make demo")
        return 2
    if not found.found:
        say(f"There is no Markdown (.md, .markdown) in {found.place}.")
        report.print_skipped(found)
        return 2
    say(f"MD Creator demo at {url}\n  {'documents from':<16} {found.place}")
    return await _run(url, found, mails, state)


async def _run(url: str, found: tree.Tree, mails: Path, state: Path) -> int:
    begun = time.monotonic()
    async with Api(url) as api:
        try:
            for service in ("auth-gateway", "documents", "sync"):
                await api.call("GET", f"/v1/{service}/openapi.json", kind="openapi.json")
            ledger = await Demo(api, url, mails, state).run(found)
        except UnreachableError as error:
            say(f"MD Creator does not answer ({error}).\nIs it running? make up · make status")
            return 1
        except (UnexpectedAnswerError, FileNotFoundError) as error:
            say(f"The demo cannot go on: {error}\nIs everything up? make status")
            return 1
        return report.print_report(ledger, found, api.timings, time.monotonic() - begun)


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main(sys.argv[1:], os.environ)))
    except KeyboardInterrupt:
        say("\nInterrupted.")
        sys.exit(130)
