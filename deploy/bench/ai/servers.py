"""Who is measured: the provider itself and two other proxies, one process each, in front of the same provider."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import psutil

from deploy.bench import load
from deploy.bench.collab.servers import ROOT, tree
from deploy.bench.rest import say
from deploy.editors import install, node
from deploy.local.machine import LOOPBACK, free_ports
from deploy.provider.pointing import OPENAI_KEY

PEERS = Path(__file__).with_name("peers")
LITELLM = "litellm[proxy]==1.108.7"
LITELLM_KEY = "sk-bench"
START_SECONDS = 120.0
MODELS = ("dev-small", "dev-words-50", "dev-clock-50", "dev-stall")
MOST_TOKENS = 1000


class Server(Protocol):
    """What is measured of a server."""

    name: str
    port: int
    does: str
    """With each request, besides handing it on."""

    async def start(self, provider: int) -> None:
        """A fresh process in front of the provider at this port."""

    async def stop(self) -> None:
        """End it."""

    def request(self, model: str, *, streamed: bool) -> bytes:
        """A chat, as bytes."""

    def processes(self) -> Sequence[psutil.Process]:
        """Its processes."""

    def databases(self) -> Sequence[psutil.Process]:
        """Those of the database it needs."""


def chat(path: str, headers: Mapping[str, str], model: str, *, streamed: bool) -> bytes:
    """A request for a chat."""
    body: dict[str, Any] = {"model": model, "max_tokens": MOST_TOKENS, "stream": streamed}
    body["messages"] = [{"role": "user", "content": "What is new in the quarterly report? Answer in one sentence."}]
    if streamed:
        body["stream_options"] = {"include_usage": True}
    return load.request("POST", path, {"Content-Type": "application/json", **headers}, json.dumps(body).encode())


class Process:
    """A server that is a program of its own."""

    name = ""
    does = ""
    path = "/v1/chat/completions"

    def __init__(self) -> None:
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self, provider: int) -> None:
        (self.port,) = free_ports(1)
        command, environment = await asyncio.to_thread(self.command, provider)
        self._process = subprocess.Popen(
            command, cwd=folder(), env={**os.environ, **environment},
            stdout=(folder() / f"{self.name}.log").open("wb"), stderr=subprocess.STDOUT,
        )  # fmt: skip
        await self._until_it_answers()

    async def _until_it_answers(self) -> None:
        """Wait until a whole chat is answered. Raises `TimeoutError`, `ConnectionError` if it ends before."""
        assert self._process is not None
        until = time.monotonic() + START_SECONDS
        status = 0
        while status != 200:
            if self._process.poll() is not None:
                raise ConnectionError(f"it ended with {self._process.returncode}, see {folder() / self.name}.log")
            if time.monotonic() > until:
                raise TimeoutError(f"it answers {status or 'nothing'}, see {folder() / self.name}.log")
            await asyncio.sleep(0.2)
            status = await self._status()

    async def _status(self) -> int:
        try:
            connection = await load.Connection.open(self.port)
        except OSError:
            return 0
        try:
            return (await connection.exchange(self.request("dev-small", streamed=False)))[0]
        except (OSError, EOFError, ValueError):
            return 0
        finally:
            connection.close()

    async def stop(self) -> None:
        for process in self.processes():
            process.kill()
        if self._process is not None:
            self._process.wait()
            self._process = None

    def command(self, provider: int) -> tuple[list[str], dict[str, str]]:
        """How it is started, with which variables."""
        raise NotImplementedError

    def headers(self) -> Mapping[str, str]:
        """Of every request."""
        return {"Authorization": f"Bearer {OPENAI_KEY}"}

    def request(self, model: str, *, streamed: bool) -> bytes:
        return chat(self.path, self.headers(), model, streamed=streamed)

    def processes(self) -> Sequence[psutil.Process]:
        if self._process is None or self._process.poll() is not None:
            return []
        return tree(self._process.pid)

    def databases(self) -> Sequence[psutil.Process]:
        return []


class Direct(Process):
    """The provider, without anybody in between."""

    name = "provider directly"
    does = "answers"

    async def start(self, provider: int) -> None:
        self.port = provider


class LiteLLM(Process):
    """LiteLLM's proxy from PyPI, in an environment of its own; no database, so without budgets and accounting."""

    name = "LiteLLM proxy"
    does = f"checks its one key ({LITELLM.replace('[proxy]', '')}, one worker)"

    def command(self, provider: int) -> tuple[list[str], dict[str, str]]:
        program = _installed_litellm()
        config = folder() / "litellm.json"  # JSON is YAML too
        given = {"api_base": f"http://{LOOPBACK}:{provider}/v1", "api_key": OPENAI_KEY}
        models = [{"model_name": name, "litellm_params": {"model": f"openai/{name}", **given}} for name in MODELS]
        config.write_text(json.dumps({"model_list": models, "general_settings": {"master_key": LITELLM_KEY}}))
        quiet = {
            "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False", "LITELLM_LOG": "ERROR",
            "LITELLM_MODE": "PRODUCTION", "DISABLE_ADMIN_UI": "True", "NO_DOCS": "True",
        }  # fmt: skip
        command = [str(program), "--config", str(config), "--host", LOOPBACK, "--port", str(self.port)]
        return [*command, "--num_workers", "1", "--telemetry", "False"], quiet

    def headers(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {LITELLM_KEY}"}


class Portkey(Process):
    """Portkey's gateway from npm; stateless: it checks nothing and counts nothing.

    It streams only with `mutable.mjs`, which mends what its release cannot do on a newer node.
    """

    name = "Portkey gateway"
    does = "nothing (1.15.2 on node)"

    def __init__(self) -> None:
        super().__init__()
        self._provider = 0

    def command(self, provider: int) -> tuple[list[str], dict[str, str]]:
        self._provider = provider
        packages = install(PEERS, "bench/ai/portkey")
        script = packages / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
        trusted = {"NODE_ENV": "production", "TRUSTED_CUSTOM_HOSTS": LOOPBACK}
        mended = ["--import", str(packages / "mutable.mjs")]
        return [node(), *mended, str(script), f"--port={self.port}", "--headless"], trusted

    def headers(self) -> Mapping[str, str]:
        host = f"http://{LOOPBACK}:{self._provider}/v1"
        return {**super().headers(), "x-portkey-provider": "openai", "x-portkey-custom-host": host}


class Upstream:
    """The development provider as a process of its own, for all of them."""

    def __init__(self) -> None:
        (self.port,) = free_ports(1)
        command = [sys.executable, "-m", "deploy.provider", "--port", str(self.port), "--keep", "0"]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()


def folder() -> Path:
    """Where programs and logs are."""
    made = Path(os.environ.get("MDC_STATE_DIR", ROOT / ".state")).resolve() / "bench" / "ai"
    made.mkdir(parents=True, exist_ok=True)
    return made


def _installed_litellm() -> Path:
    """The program; installed once for each version, never into our own environment. Raises `CalledProcessError`."""
    place = folder() / "litellm"
    marker = place / ".installed"
    if not marker.exists() or marker.read_text() != LITELLM:
        say(f"installing {LITELLM} into {place}")
        shutil.rmtree(place, ignore_errors=True)
        uv = ["sh", "deploy/local/bootstrap.sh", "uv"]
        subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, str(place)], cwd=ROOT, check=True)
        python = str(place / "bin" / "python")
        subprocess.run([*uv, "pip", "install", "--quiet", "--python", python, LITELLM], cwd=ROOT, check=True)
        marker.write_text(LITELLM)
    return place / "bin" / "litellm"
