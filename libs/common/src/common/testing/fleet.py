"""Real services in the test's own event loop, on real ports, against real servers."""

import asyncio
import importlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Self

import httpx
from fastapi import FastAPI

from common.revisions import schema_of
from common.serve import listener

START_SECONDS = 20
OWNERS = {
    ("/v1/auth", "/v1/users", "/v1/workspaces", "/v1/invitations", "/.well-known"): "auth-gateway",
    ("/v1/sync",): "sync",
    ("/v1/collab",): "collab",
    ("/v1/files", "/v1/context-files"): "files",
    ("/v1/ai",): "ai-proxy",
}


@dataclass
class Service:
    """A running service."""

    name: str
    app: FastAPI
    url: str
    internal_url: str


@dataclass
class Fleet:
    """The services started so far, by name."""

    services: dict[str, Service] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Service:
        return self.services[name]

    def url_of(self, path: str) -> str:
        """Base URL of the service that owns a public path."""
        owner = next((name for prefixes, name in OWNERS.items() if path.startswith(prefixes)), "documents")
        return self.services[owner].url

    @classmethod
    @asynccontextmanager
    async def running(cls, *names: str) -> AsyncIterator[Self]:
        """Serve these until the block ends."""
        fleet = cls()
        running: list[tuple[Any, asyncio.Task[None]]] = []
        try:
            for name in names:
                await fleet._start(name, running)
            yield fleet
        finally:
            for service in fleet.services.values():
                service.app.state.platform.connections.drain()
            for server, _ in running:
                server.should_exit = True
            await asyncio.gather(*(task for _, task in running), return_exceptions=True)

    async def _start(self, name: str, running: list[tuple[Any, asyncio.Task[None]]]) -> None:
        app: FastAPI = importlib.import_module(f"{schema_of(name)}.main").create()
        settings = app.state.settings
        for served, port, lifespan in (
            (app, settings.port, "on"),
            (app.state.internal_app, settings.internal_port, "off"),
        ):
            server = listener(served, settings.host, port, lifespan)
            running.append((server, asyncio.create_task(server.serve())))
            async with asyncio.timeout(START_SECONDS):
                await server.listening.wait()
        base = f"http://{settings.host}"
        self.services[name] = Service(name, app, f"{base}:{settings.port}", f"{base}:{settings.internal_port}")


_NO_TLS: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""All is loopback: reading the system's certificates for each client took an eighth of a run of the tests."""


class Client(httpx.AsyncClient):
    """An HTTP client of the whole fleet: paths find their service as the gateway would route them."""

    def __init__(self, fleet: Fleet, token: str | None = None) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        super().__init__(headers=headers, timeout=30, verify=_NO_TLS)
        self._fleet = fleet

    def _merge_url(self, url: Any) -> httpx.URL:
        text = str(url)
        return httpx.URL(text if text.startswith("http") else self._fleet.url_of(text) + text)
