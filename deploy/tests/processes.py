"""A private fleet of real processes for journeys and chaos: services, and nginx in front as in `make up`."""

import asyncio
import http.client
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import cast

from deploy.local import gateway, routes
from deploy.local.backing import Program, Server, answers
from deploy.local.layout import gateway_user
from deploy.local.machine import LOOPBACK, SYSTEM_PATH, find_program, free_ports, own_folder
from deploy.local.servers import Running

from common.settings import env_prefix

SERVICES = ("auth-gateway", "documents", "sync", "collab", "files")
PLANTED = Path(__file__).parent / "planted" / "launch.py"
READY_SECONDS = 40


def planted_bugs() -> list[str]:
    """Names of what can be planted."""
    return sorted(file.stem for file in PLANTED.parent.glob("*.py") if file != PLANTED)


@dataclass(frozen=True)
class Described:
    """One program as `servers.Running` wants it described."""

    program: Program
    folder: Path
    port: int

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def programs(self) -> list[Program]:
        return [self.program]

    def is_ready(self) -> bool:
        """Whether it takes connections; for what it says of itself there is `Process.ready`."""
        return answers(self.port)


class Process:
    """A service or the gateway: can be killed as a crash would, and started again."""

    def __init__(self, described: Described) -> None:
        own_folder(described.folder, None, 0o711)
        self._running = Running(cast("Server", described))
        self._port = described.port

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self._port}"

    @property
    def pid(self) -> int:
        return self._running.pid

    async def start(self) -> None:
        """Start and wait until it listens."""
        await asyncio.to_thread(self._running.start)

    async def kill(self) -> None:
        """kill -9."""
        await asyncio.to_thread(self._running.kill)

    def stop(self) -> None:
        """End it in order."""
        self._running.stop()

    def ready(self) -> tuple[int, Mapping[str, str]]:
        """Status and checks of /health/ready; status 0 if nobody answers."""
        connection = http.client.HTTPConnection(LOOPBACK, self._port, timeout=5)
        try:
            connection.request("GET", "/health/ready")
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        except (OSError, http.client.HTTPException):
            return 0, {}
        finally:
            connection.close()

    async def until_ready(self, status: int = 200) -> Mapping[str, str]:
        """Wait until ready answers `status`; the checks it names."""
        said: tuple[int, Mapping[str, str]] = (0, {})
        async with asyncio.timeout(READY_SECONDS):
            while said[0] != status:
                await asyncio.sleep(0.05)
                said = await asyncio.to_thread(self.ready)
        return said[1]

    def log(self) -> str:
        """Everything it wrote since the fleet began."""
        return self._running.log()

    def complaints(self) -> str:
        """Errors at the end of its log, in short; or that end as it is if it does not consist of log records."""
        lines = self._running.log_tail().splitlines()
        try:
            records = [json.loads(line) for line in lines]
        except ValueError:
            return "\n".join(lines)
        errors = [record for record in records if record["level"] in ("ERROR", "CRITICAL")]
        return "\n".join(_brief(record) for record in errors[-5:])


def _brief(record: Mapping[str, str]) -> str:
    cause = record.get("exception", "") or f"{record.get('stack', '')}{record.get('error', '')}: {record.get('detail')}"
    end = "\n".join(cause.splitlines()[-5:])
    return f"{record['time']} {record['message']} (trace {record.get('trace_id', '-')})\n{end}"


@dataclass(frozen=True)
class Fleet:
    """The processes by name, and where things are."""

    url: str
    state: Path
    environment: Mapping[str, str]
    processes: Mapping[str, Process]

    def __getitem__(self, name: str) -> Process:
        return self.processes[name]

    @property
    def objects(self) -> Path:
        return self.state / "objects"

    @property
    def mails(self) -> Path:
        return self.state / "mail"

    @property
    def spans(self) -> Path:
        return self.state / "telemetry"

    async def until_ready(self) -> None:
        """Wait until all services are ready."""
        services = [process for name, process in self.processes.items() if name != "gateway"]
        await asyncio.gather(*(service.until_ready() for service in services))


@contextmanager
def fleet(
    environment: Mapping[str, str],
    services: Sequence[str] = SERVICES,
    *,
    planted: Mapping[str, str] = MappingProxyType({}),
    line_to: Callable[[int], int] = lambda port: port,
) -> Iterator[Fleet]:
    """A described fleet, not started yet, on ports and in folders of its own; ended and removed with the block.

    `planted` names a bug of `deploy/tests/planted` for some services; `line_to` gives the port by which services find
    the internal port of another.
    """
    folder = Path(tempfile.mkdtemp(prefix="mdc-journey-"))
    folder.chmod(0o711)
    described = _fleet(folder, environment, services, planted, line_to)
    try:
        yield described
    finally:
        with ThreadPoolExecutor() as pool:
            list(pool.map(Process.stop, described.processes.values()))
        shutil.rmtree(folder, ignore_errors=True)


def _fleet(
    folder: Path,
    environment: Mapping[str, str],
    services: Sequence[str],
    planted: Mapping[str, str],
    line_to: Callable[[int], int],
) -> Fleet:
    ports = free_ports(2 * len(services) + 1)
    public = dict(zip(services, ports[0::2], strict=False))
    internal = dict(zip(services, ports[1::2], strict=False))
    peers = {name: f"http://{LOOPBACK}:{line_to(port)}" for name, port in internal.items()}
    url = f"http://{LOOPBACK}:{ports[-1]}"
    state = own_folder(folder / "state", None, 0o711)
    (state / "objects").mkdir()
    values = dict(environment) | {
        "PATH": SYSTEM_PATH,
        "LANG": "C.UTF-8",
        "HOME": str(folder),
        "MDC_ISSUER": url,
        "MDC_STATE_DIR": str(state),
        "MDC_OBJECTS_DIR": str(state / "objects"),
        "MDC_MAIL_DIR": str(state / "mail"),
        "MDC_INTERNAL_URLS": json.dumps(peers),
    }
    for name in services:
        values |= {
            f"{env_prefix(name)}PORT": str(public[name]),
            f"{env_prefix(name)}INTERNAL_PORT": str(internal[name]),
        }
    processes = {name: _service(name, folder, public[name], values, planted.get(name, "")) for name in services}
    processes["gateway"] = _gateway(folder / "gateway", ports[-1], public, state / "objects")
    return Fleet(url, state, values, processes)


def replica(fleet: Fleet, service: str, planted: str = "") -> Process:
    """Another process of a service, on ports of its own; whoever starts it ends it."""
    public, internal = free_ports(2)
    ports = {f"{env_prefix(service)}PORT": str(public), f"{env_prefix(service)}INTERNAL_PORT": str(internal)}
    folder = own_folder(fleet.state.parent / "replicas" / str(public), None)
    return _service(service, folder, public, dict(fleet.environment) | ports, planted)


def _service(name: str, folder: Path, port: int, environment: Mapping[str, str], planted: str) -> Process:
    launch = (str(PLANTED), planted) if planted else ("-m", "common.serve")
    program = Program(name, (sys.executable, *launch, name), environment)
    return Process(Described(program, folder / name, port))


def _gateway(folder: Path, port: int, services: Mapping[str, int], objects: Path) -> Process:
    own_folder(folder, None, 0o711)
    for name in ("tmp", "html", "logs"):
        own_folder(folder / name, None, 0o711)
    user = gateway_user()
    table = routes.load()
    described = gateway.Gateway(
        listen=f"{LOOPBACK}:{port}",
        upstreams={name: f"{LOOPBACK}:{services.get(name, 1)}" for name in routes.SERVICES},
        user=user.name if user else None,
        trace_sample_percent=0.0,
        sends_objects=True,
    )
    gateway.share_objects(folder, objects, user)
    gateway.write_docs(folder / "html", table)
    (folder / "nginx.conf").write_text(gateway.render(described, table))
    nginx = find_program("nginx", "nginx-light")
    argv = (nginx, "-e", "stderr", "-p", str(folder), "-c", "nginx.conf", "-g", "daemon off;")
    environment = {"PATH": SYSTEM_PATH, "LANG": "C.UTF-8", "HOME": str(folder)}
    return Process(Described(Program("gateway", argv, environment, stop_signal="QUIT"), folder, port))
