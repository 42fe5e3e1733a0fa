"""`make chaos-collab`: 20 people type on 2 replicas while replicas, PostgreSQL and Redis are killed -9.

Afterwards every promised word is there exactly once, every client and every version says the same.
"""

import argparse
import asyncio
import random
import secrets
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from pathlib import Path
from uuid import UUID

import aiohttp
import uvloop

from deploy.chaos.typists import Place, Promises, Typist, Watcher
from deploy.client import Api, Person, UnexpectedAnswerError, invitation_token
from deploy.local.servers import Servers, start
from deploy.progress import say, say_counts
from deploy.tests import processes
from deploy.tests.environment import migrated
from deploy.tests.processes import Fleet, Process, planted_bugs

SERVICES = ("auth-gateway", "documents", "collab")
TOGETHER = 12
ALONE = 8
"""Documents with one typist and somebody who watches."""
PASSWORD = "correct horse battery staple"
SETTLE_SECONDS = 60.0


@dataclass
class Outcome:
    """What a storm found."""

    promises: list[Promises]
    kills: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        return not (self.lost or self.doubled or self.differing)


@dataclass
class Scene:
    """A document and everybody in it."""

    document_id: UUID
    owner: Person
    promises: Promises
    clients: list[Typist | Watcher]


async def run(seconds: float, seed: int, planted: str = "") -> Outcome:
    """Start everything, let it storm, look for the damage."""
    dice = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="mdc-chaos-") as folder, start(durable=True) as backing:
        environment = migrated(backing, Path(folder)) | {"MDC_RATE_WRITE_PER_MINUTE": "100000"}
        with processes.fleet(environment, SERVICES, planted={"collab": planted}) as fleet:
            replicas = [fleet["collab"], processes.replica(fleet, "collab", planted)]
            try:
                for process in {id(one): one for one in (*fleet.processes.values(), *replicas)}.values():
                    await process.start()
                await fleet.until_ready()
                await replicas[1].until_ready()
                return await _storm(seconds, dice, backing, fleet, replicas)
            finally:
                replicas[1].stop()


async def _storm(
    seconds: float, dice: random.Random, backing: Servers, fleet: Fleet, replicas: Sequence[Process]
) -> Outcome:
    place = Place([replica.url.replace("http", "ws") for replica in replicas],
                  fleet.environment["COLLAB_TICKET_KEYS"].encode())  # fmt: skip
    over = asyncio.Event()
    async with Api(fleet.url) as api, aiohttp.ClientSession() as session:
        scenes = await _scenes(api, fleet, session, place, dice)
        outcome = Outcome([scene.promises for scene in scenes])
        deadline, saved = [0.0], set[str]()

        def calm(scene: Scene) -> bool:
            if not saving.done():  # what it is about to be promised is to be there, too
                return False
            return time.monotonic() > deadline[0] or _agree(scene, saved if scene is scenes[0] else set())

        saving = asyncio.create_task(_save(scenes[0], over, saved))
        working = asyncio.gather(
            *(client.work(over, partial(calm, scene)) for scene in scenes for client in scene.clients)
        )
        say(f"{sum(isinstance(c, Typist) for s in scenes for c in s.clients)} people type on {len(replicas)} replicas")
        await _kill(seconds, dice, backing, replicas, outcome.kills)
        deadline[0] = time.monotonic() + SETTLE_SECONDS
        over.set()
        await working
        await saving
        for scene in scenes:
            await _judge(scene, outcome, saved if scene is scenes[0] else set())
        if not outcome.clean:
            for process in replicas:
                say("\n".join(one for one in process.log().splitlines() if "connection open" not in one)[-6000:])
    return outcome


def _agree(scene: Scene, saved: set[str]) -> bool:
    said = {client.says for client in scene.clients}
    return len(said) == 1 and all(client.synced for client in scene.clients) and saved <= set(said.pop().split())


async def _scenes(
    api: Api, fleet: Fleet, session: aiohttp.ClientSession, place: Place, dice: random.Random
) -> list[Scene]:
    run = secrets.token_hex(4)
    owner = await api.sign_up(f"owner-{run}@example.org", PASSWORD, "Owner")
    watcher = await api.sign_up(f"watcher-{run}@example.org", PASSWORD, "Watcher")
    workspace_id = await owner.make_workspace("Live")
    await owner.invite(workspace_id, watcher.email, "viewer")
    await watcher.accept_invitation(await invitation_token(fleet.mails, watcher.email))
    scenes = []
    for number in range(1 + ALONE):
        made = await owner.create(workspace_id, f"Live {number}", b"", kind="text")
        scene = Scene(UUID(made.json()["id"]), owner, Promises(), [])
        for typist in range(TOGETHER if number == 0 else 1):
            scene.clients.append(
                Typist(session, place, scene.document_id, UUID(owner.id), scene.promises, random.Random(dice.random()),
                       hocuspocus=(number + typist) % 2 == 0)
            )  # fmt: skip
        scene.clients.append(
            Watcher(session, place, scene.document_id, UUID(watcher.id), scene.promises, random.Random(dice.random()),
                    hocuspocus=False)
        )  # fmt: skip
        scenes.append(scene)
    return scenes


async def _save(scene: Scene, over: asyncio.Event, saved: set[str]) -> None:
    """Somebody saves by the API beside all that; words of acknowledged saves go into `saved`."""
    number = 0
    while not over.is_set():
        await asyncio.sleep(0.5)
        number += 1
        word = f"[{number}]"
        try:
            head = await scene.owner.call("GET", f"/v1/documents/{scene.document_id}")
            body = {"edits": [{"append": f"{word} "}]}
            answer = await scene.owner.call(
                "PATCH", f"/v1/documents/{scene.document_id}/content", body=body,
                headers={"If-Match": head.headers["etag"], "Idempotency-Key": f"{scene.document_id}-{number}"},
            )  # fmt: skip
        except (aiohttp.ClientError, TimeoutError, UnexpectedAnswerError):
            continue
        if answer.status == HTTPStatus.OK:
            saved.add(word)


async def _kill(
    seconds: float, dice: random.Random, backing: Servers, replicas: Sequence[Process], kills: Counter[str]
) -> None:
    begun = time.monotonic()
    lane = ["replica 1", "replica 2", "postgres", "replica 1", "replica 2", "redis"]
    number = 0
    while time.monotonic() < begun + seconds:
        await asyncio.sleep(dice.uniform(1.0, 4.0))
        name = lane[number % len(lane)]
        number += 1
        kills[name] += 1
        if name.startswith("replica"):
            process = replicas[int(name[-1]) - 1]
            await process.kill()
            await asyncio.sleep(dice.uniform(0.0, 1.0))
            await process.start()
        else:
            await asyncio.to_thread(backing[name].kill)
            await asyncio.sleep(dice.uniform(0.0, 1.0))
            await asyncio.to_thread(backing[name].start)
    await asyncio.gather(*(process.until_ready() for process in replicas))


async def _judge(scene: Scene, outcome: Outcome, saved: set[str]) -> None:
    said = {client.says for client in scene.clients}
    if len(said) > 1:
        outcome.differing.append(f"{scene.document_id}: {len(said)} texts")
    text = scene.clients[0].says
    counted = Counter(text.split())
    promises = scene.promises
    kept = promises.typed - promises.forgotten
    outcome.lost += sorted(word for word in promises.promised | kept | saved if not counted[word])
    outcome.doubled += sorted(word for word, count in counted.items() if count > 1)
    outcome.doubled += sorted(word for word in counted if word not in promises.typed and not word.startswith("["))
    until = time.monotonic() + SETTLE_SECONDS
    while (await scene.owner.content(str(scene.document_id))).body.decode() != text:
        await asyncio.sleep(0.5)
        if time.monotonic() > until:
            outcome.differing.append(f"{scene.document_id}: its newest version")
            return


def report(outcome: Outcome) -> None:
    """The counts, and the first few of whatever is wrong."""
    promises = outcome.promises
    closes = sum((one.closes for one in promises), Counter())
    rows = [
        ("kills", sum(outcome.kills.values()), ", ".join(f"{name} {n}" for name, n in sorted(outcome.kills.items()))),
        ("connections", closes.total(), ", ".join(f"{code}: {n}" for code, n in closes.most_common())),
        ("crashed typists", sum(one.crashes for one in promises), "they forgot everything"),
        ("words typed", sum(len(one.typed) for one in promises), ""),
        ("words promised", sum(len(one.promised) for one in promises), "acknowledged, or seen by who can only read"),
        ("lost", len(outcome.lost), ""),
        ("doubled", len(outcome.doubled), ""),
        ("differing", len(outcome.differing), "clients, or the newest version"),
    ]
    say_counts(rows)
    for example in (*outcome.lost[:5], *outcome.doubled[:5], *outcome.differing[:5]):
        say(f"  ! {example}")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    parser.add_argument("--planted", default="", choices=["", *planted_bugs()])
    arguments = parser.parse_args()
    say(f"Seed {arguments.seed}")
    outcome = uvloop.run(run(arguments.seconds, arguments.seed, arguments.planted))
    report(outcome)
    say("Nothing was lost." if outcome.clean else "SOMETHING IS WRONG.")
    return 0 if outcome.clean else 1


if __name__ == "__main__":
    sys.exit(main())
