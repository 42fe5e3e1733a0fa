"""Ours: a private, durable fleet with budgets, rights and accounting on; people of one workspace take turns."""

import asyncio
import itertools
import tempfile
import uuid
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from deploy.bench.ai.servers import chat
from deploy.bench.collab.ours import LIFTED
from deploy.bench.collab.servers import tree
from deploy.bench.rest import say
from deploy.client import Api, Person, invitation_token
from deploy.local.servers import Servers, start
from deploy.provider import pointing
from deploy.tests import processes
from deploy.tests.environment import migrated

SERVICES = ("auth-gateway", "documents", "files", "ai-proxy")
PEOPLE = 16
LIMITS = {
    "AI_PROXY_CALLS_PER_USER": "100000",
    "AI_PROXY_CALLS_PER_WORKSPACE": "100000",
    "AI_PROXY_TOKENS_PER_MINUTE": "1000000000",
    "AI_PROXY_CEILINGS": '[{"scope": "user", "period": "day", "micro_usd": 1000000000000},'
    ' {"scope": "workspace", "period": "month", "micro_usd": 1000000000000}]',
    "AI_PROXY_IDLE_SECONDS": "600",
}
"""Nobody meets them, but all are checked."""


class Ours:
    """The ai-proxy service, a fresh process for every round; the rest of its fleet goes on."""

    does = "checks the token, the rights and four budgets, reserves, settles, all of it committed to PostgreSQL"

    def __init__(self, *, through_gateway: bool) -> None:
        self.name = "ours/gateway" if through_gateway else "ours"
        self.port = 0
        self._through_gateway = through_gateway
        self._stack = AsyncExitStack()
        self._fleet: processes.Fleet | None = None
        self._backing: Servers | None = None
        self._people: list[Person] = []
        self._headers: itertools.cycle[dict[str, str]] = itertools.cycle([{}])
        self._workspace = ""

    async def start(self, provider: int) -> None:
        if self._fleet is None:
            await self._settle(provider)
        assert self._fleet is not None
        await self._fleet["ai-proxy"].start()
        await self._fleet["ai-proxy"].until_ready()
        for person in self._people:
            await person.call("GET", "/v1/users/me")  # renews the token when it is old
        self._headers = itertools.cycle(
            [{"Authorization": f"Bearer {person.token}", "X-Workspace-Id": self._workspace} for person in self._people]
        )

    async def stop(self) -> None:
        if self._fleet is not None:
            await asyncio.to_thread(self._fleet["ai-proxy"].stop)

    async def close(self) -> None:
        """End the fleet."""
        await self._stack.aclose()
        self._fleet = None

    async def _settle(self, provider: int) -> None:
        say("starting a private fleet")
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="mdc-bench-"))
        self._backing = self._stack.enter_context(start(durable=True))
        told = pointing.settings(f"http://127.0.0.1:{provider}", models=())
        environment = migrated(self._backing, Path(folder)) | LIFTED | LIMITS
        environment |= {f"AI_PROXY_{name}": value for name, value in told.items()}
        self._fleet = fleet = self._stack.enter_context(processes.fleet(environment, SERVICES))
        others = {name: process for name, process in fleet.processes.items() if name != "ai-proxy"}
        for process in others.values():
            await process.start()
        for name in SERVICES[:-1]:
            await others[name].until_ready()
        self.port = urlsplit(fleet["gateway" if self._through_gateway else "ai-proxy"].url).port or 0
        await self._move_in(await self._stack.enter_async_context(Api(fleet.url)), fleet.mails)

    async def _move_in(self, api: Api, mails: Path) -> None:
        run = uuid.uuid4().hex
        people = [await api.sign_up(f"b{n}-{run}@example.org", uuid.uuid4().hex, f"Bench {n}") for n in range(PEOPLE)]
        self._workspace = await people[0].make_workspace("Bench")
        for person in people[1:]:
            await people[0].invite(self._workspace, person.email)
            await person.accept_invitation(await invitation_token(mails, person.email))
        self._people = people

    def request(self, model: str, *, streamed: bool) -> bytes:
        return chat("/v1/ai/openai/chat/completions", next(self._headers), model, streamed=streamed)

    def processes(self) -> Sequence[psutil.Process]:
        return tree(self._fleet["ai-proxy"].pid) if self._fleet else []

    def databases(self) -> Sequence[psutil.Process]:
        return tree(self._backing["postgres"].pid) if self._backing else []
