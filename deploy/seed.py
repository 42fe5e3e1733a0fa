"""`make seed N=10000`: realistic documents in several workspaces; `--demo`: the demo login with a few documents.

Everything goes through the public API, as people's clients would do it, so only to a gateway on this machine.
"""

import argparse
import asyncio
import hashlib
import os
import secrets
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from uuid import UUID

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from deploy.client import (  # noqa: E402
    Api,
    NotLoopbackError,
    Person,
    UnexpectedAnswerError,
    UnreachableError,
    at_most,
    base_url,
    invitation_token,
    require_loopback,
)
from deploy.progress import Progress, say  # noqa: E402
from deploy.samples import sample  # noqa: E402

DEMO_ADDRESS = "demo@example.org"
DEMO_PASSWORD = "quiet-harbour-paper-lantern"
DEMO_NAME = "Demo"
DEMO_WORKSPACE = "Demo workspace"
DEMO_DOCUMENTS = Path(__file__).with_name("demonstration") / "welcome"
WORKSPACES = ("Engineering", "Product", "Research", "Support", "Sales", "People", "Finance", "Operations")
PEOPLE = ("Chiyo Tanaka", "Ifeoma Obi", "Jürgen Weiß", "María Núñez", "Oleksandr Bondar", "Priya Nair", "Zoë Laurent")
ATTEMPTS = 5
MEMBERSHIPS = 3
AT_ONCE = 16


@dataclass(frozen=True)
class Seeded:
    """What was made; `people[0]` owns the workspaces (id: number of documents), the others are editors."""

    people: list[Person]
    workspaces: dict[str, int]
    size: int
    seconds: float


async def demo_person(api: Api) -> Person:
    """The demo account, made if it is not there. Raises `UnexpectedAnswerError` if its password was changed."""
    try:
        return await api.sign_in(DEMO_ADDRESS, DEMO_PASSWORD)
    except UnexpectedAnswerError as error:
        if error.answer.status != 401:
            raise
    return await api.sign_up(DEMO_ADDRESS, DEMO_PASSWORD, DEMO_NAME)


async def make_demo(api: Api) -> Person:
    """The demo account with a workspace and a handful of documents; made once, what is there is left alone."""
    person = await demo_person(api)
    existing = await person.pages("/v1/workspaces", "list workspaces")
    found = next((item["id"] for item in existing if item["name"] == DEMO_WORKSPACE), None)
    workspace_id = str(found or await person.make_workspace(DEMO_WORKSPACE))
    for file in sorted(DEMO_DOCUMENTS.glob("*.md")):
        document_id = _fixed_id(f"{workspace_id}/{file.stem}")
        content = file.read_bytes()
        await person.create(workspace_id, _title(content), content, id=document_id, expect=(201, 409))
    return person


def _title(content: bytes) -> str:
    return content.decode().partition("\n")[0].removeprefix("# ")


def _fixed_id(name: str) -> str:
    """The same id for the same name: a document that exists, even in the trash, is not made again."""
    return str(UUID(bytes=hashlib.sha256(name.encode()).digest()[:16], version=4))


async def seed(
    api: Api,
    mails: Path,
    documents: int,
    *,
    series: int = 1,
    workspaces: int = 3,
    people: int = 5,
    at_once: int = AT_ONCE,
) -> Seeded:
    """Make `documents` documents of the series over `workspaces` new workspaces of the demo account and its team."""
    team = await _team(api, people)
    members = {}
    for number in range(workspaces):
        place, joined = await _workspace(team, mails, number, every=-(-workspaces // MEMBERSHIPS))
        members[place] = joined
    places = Random(series).choices(list(members), _shares(workspaces), k=documents)
    progress = Progress("documents", documents)
    begun = time.monotonic()
    jobs = [
        partial(_write, members[place][number % len(members[place])], place, series, number, progress)
        for number, place in enumerate(places)
    ]
    sizes = await at_most(at_once, jobs)
    seconds = time.monotonic() - begun
    progress.done(f"{documents:,}, {sum(sizes):,} bytes, {documents / seconds:,.0f}/s")
    return Seeded(team, {place: places.count(place) for place in members}, sum(sizes), seconds)


def _shares(count: int) -> list[float]:
    """Shares of the workspaces: each is smaller than the one before."""
    return [1 / (number + 1) for number in range(count)]


async def _team(api: Api, people: int) -> list[Person]:
    run = secrets.token_hex(4)
    names = [PEOPLE[number % len(PEOPLE)] for number in range(people - 1)]
    jobs = [
        partial(api.sign_up, f"{name.split()[0].lower()}-{run}-{number}@example.org", DEMO_PASSWORD, name)
        for number, name in enumerate(names)
    ]
    return [await demo_person(api), *await at_most(4, jobs)]


async def _workspace(team: Sequence[Person], mails: Path, number: int, every: int) -> tuple[str, list[Person]]:
    """A workspace of the first person's that every n-th of the others has joined, and its members.

    Not all in all: a person gets an invitation for each, and mails to one address are limited.
    """
    owner, *others = team
    workspace_id = await owner.make_workspace(WORKSPACES[number % len(WORKSPACES)])
    joining = [person for index, person in enumerate(others) if (index + number) % every == 0]
    for person in joining:
        await owner.invite(workspace_id, person.email)
        await person.accept_invitation(await invitation_token(mails, person.email))
    return workspace_id, [owner, *joining]


async def _write(person: Person, workspace_id: str, series: int, number: int, progress: Progress) -> int:
    """Make one document, again under the same id if the connection breaks; its size in bytes."""
    made = sample(series, number)
    document_id = _fixed_id(f"{workspace_id}/{series}/{number}")
    content = made.content.encode()
    for attempt in range(ATTEMPTS):
        try:
            await person.create(workspace_id, made.title, content, id=document_id, expect=(201, 409))
            break
        except UnreachableError:
            if attempt == ATTEMPTS - 1:
                raise
            await asyncio.sleep(2**attempt / 4)
    progress.step()
    return len(content)


def _arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="seed.py", description=__doc__)
    parser.add_argument("documents", type=int, nargs="?", default=1000, help="how many (1000)")
    parser.add_argument("--series", type=int, default=1, help="another number makes other documents (1)")
    parser.add_argument("--workspaces", type=int, default=3, help="over how many workspaces (3)")
    parser.add_argument("--people", type=int, default=5, help="by how many people, the demo account included (5)")
    parser.add_argument("--at-once", type=int, default=AT_ONCE, help="requests at a time (16)")
    parser.add_argument("--demo", action="store_true", help="only make the demo login")
    given = parser.parse_args(arguments)
    for name in ("documents", "workspaces", "people", "at_once"):
        if getattr(given, name) < 1:
            parser.error(f"{name} must be at least 1")
    return given


async def main(arguments: list[str], environment: Mapping[str, str]) -> int:
    """Exit code: 0 if everything was made."""
    given = _arguments(arguments)
    try:
        async with Api(require_loopback(base_url(environment))) as api:
            if given.demo:
                await make_demo(api)
            else:
                await _seed(api, given, Path(environment["MDC_MAIL_DIR"]))
    except UnreachableError as error:
        say(f"MD Creator does not answer ({error}).\nIs it running? make up · make status")
        return 1
    except (NotLoopbackError, UnexpectedAnswerError, FileNotFoundError) as error:
        say(str(error))
        return 1
    say(f"Login  {DEMO_ADDRESS}  password {DEMO_PASSWORD}")
    return 0


async def _seed(api: Api, given: argparse.Namespace, mails: Path) -> None:
    done = await seed(
        api,
        mails,
        given.documents,
        series=given.series,
        workspaces=given.workspaces,
        people=given.people,
        at_once=given.at_once,
    )
    rate = given.documents / done.seconds
    many = len(done.workspaces)
    say(f"{given.documents:,} documents in {many} workspace{'s' * (many > 1)} of {DEMO_ADDRESS}, {rate:,.0f}/s")
    if api.timings.throttled:
        say(f"{api.timings.throttled:,} requests had to wait for the rate limit")


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main(sys.argv[1:], os.environ)))
    except KeyboardInterrupt:
        say("\nInterrupted; what was made stays.")
        sys.exit(130)
