"""The verbs of the local start: up, down, status, logs, reset, and running a command with the fleet's settings."""

import fcntl
import http.client
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from deploy.local import launch
from deploy.local.console import say, step, wait_for
from deploy.local.database import create_database, migrate
from deploy.local.layout import Layout, Ports
from deploy.local.machine import LOOPBACK
from deploy.local.plan import Plan
from deploy.local.preparing import check_ports, end_leftovers, install_packages, load_keys, needed_packages, prepare
from deploy.local.programs import FRONT, PROVIDER, Fleet
from deploy.local.supervision import STOPPED, Supervisor
from deploy.provider.pointing import NOTE

READY_SECONDS = 120
DOWN_SECONDS = 120
SEED_SECONDS = 20
HOPELESS_FAILURES = 4
SEED = "deploy/seed.py"


class NotUpError(Exception):
    """The verb needs a running fleet."""

    def __init__(self) -> None:
        super().__init__("MD Creator is not running: make up")


def up(layout: Layout, environment: Mapping[str, str]) -> int:
    """Start everything, or say that it is up."""
    layout.make()
    with _alone(layout):
        supervisor = Supervisor(layout.root)
        wanted = Ports.from_environment(environment)
        if _stays_up(layout, supervisor):
            _say_what_is_ignored(layout, wanted, environment)
            _print_summary(layout, "MD Creator is already up.", _seed(layout))
            return 0
        begun = time.monotonic()
        fleet = Fleet(layout, wanted, load_keys(layout), environment)
        say(f"Starting MD Creator (data: {layout.data})")
        install_packages(layout, needed_packages(fleet))
        ended = end_leftovers(layout)
        if ended:
            say(f"  ended what an earlier start had left running: {', '.join(ended)}")
        check_ports(fleet)
        with step("files", "done"):
            prepare(fleet)
        _start(fleet, supervisor)
        if fleet.stand_in:
            say("  S3 is played by a stand-in that keeps objects in memory: they end with make down")
        with step("demo login", "done"):
            login = _seed(layout)
        _print_summary(layout, f"MD Creator is up ({time.monotonic() - begun:.0f} s).", login)
    return 0


def _say_what_is_ignored(layout: Layout, wanted: Ports, environment: Mapping[str, str]) -> None:
    plan = Plan.load(layout)
    running = plan and {"GATEWAY_PORT": plan.gateway_port, "PORT_BASE": plan.port_base}
    given = {"GATEWAY_PORT": wanted.gateway, "PORT_BASE": wanted.base}
    if other := [name for name in given if environment.get(name) and running and running[name] != given[name]]:
        say(f"It runs with other values of {', '.join(other)}: make down first to change them.")


def _stays_up(layout: Layout, supervisor: Supervisor) -> bool:
    """Whether the fleet runs or is about to; a half-started one is stopped so that it can be started afresh."""
    if not supervisor.runs():
        return False
    plan, processes = Plan.load(layout), supervisor.processes()
    if plan and processes and not any(info["statename"] in STOPPED for info in processes.values()):
        wait_for(_readiness(plan), seconds=READY_SECONDS, gives_up=_gives_up)
        return True
    say("An earlier start did not finish: stopping what it left.")
    stop(layout, supervisor)
    return False


def _start(fleet: Fleet, supervisor: Supervisor) -> None:
    begun = time.monotonic()
    if "postgres" not in fleet.servers:
        create_database(fleet)  # before anything runs: the given URL may be wrong
    supervisor.start(fleet.groups(), fleet.keys["supervisor"], waiting=FRONT)
    backing = {name: server.is_ready for name, server in fleet.servers.items()}
    if fleet.stand_in:
        backing["s3"] = fleet.stand_in.is_ready
    if "postgres" in backing:
        wait_for({"postgres": backing.pop("postgres")}, begun=begun, seconds=READY_SECONDS, gives_up=_gives_up)
    with step("database", "done"):
        create_database(fleet)
        migrate(fleet)
    supervisor.start_group(FRONT)
    wait_for(backing | _readiness(Plan.of(fleet)), begun=begun, seconds=READY_SECONDS, gives_up=_gives_up)


def _gives_up(name: str) -> bool:
    return launch.failures(name) >= HOPELESS_FAILURES


def _readiness(plan: Plan) -> dict[str, Callable[[], bool]]:
    def ready(port: int, path: str) -> Callable[[], bool]:
        return lambda: answers_ok(port, path)

    services = {name: ready(port, "/health/ready") for name, port in plan.service_ports.items()}
    if PROVIDER in plan.programs:
        services[PROVIDER] = ready(Ports(base=plan.port_base).provider, "/control/open")
    return services | {"gateway": ready(plan.gateway_port, "/docs/")}


def answers_ok(port: int, path: str) -> bool:
    """Whether GET answers 200."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=3)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _seed(layout: Layout) -> str:
    """Make the demo login, or find it; returns what the script says of it."""
    if not (layout.root / SEED).exists():
        return ""
    deadline = time.monotonic() + SEED_SECONDS
    while True:
        made = subprocess.run(
            [sys.executable, SEED, "--demo"],
            cwd=layout.root,
            env=_tool_environment(layout),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if made.returncode == 0:
            return made.stdout.strip()
        if time.monotonic() > deadline:
            return f"The demo login could not be made (once more: make up): {made.stdout.strip()}"
        time.sleep(1)  # services that are ready may still be fetching each other's keys


def _print_summary(layout: Layout, headline: str, login: str) -> None:
    plan = Plan.load(layout)
    url = plan.url if plan else ""
    say()
    say(headline)
    say(f"  API    {url}")
    say(f"  Docs   {url}/docs")
    for line in login.splitlines():
        say(f"  {line}")
    if plan and PROVIDER in plan.programs:
        say(f"  AI     {NOTE}")
    say("Next: make demo · make status · make logs s=documents · make down")


def down(layout: Layout) -> int:
    """Stop what `up` started, and nothing else; data stay."""
    if not layout.run.exists():
        say("MD Creator is not running.")
        return 0
    with _alone(layout):
        if stop(layout, Supervisor(layout.root)):
            say("MD Creator is stopped; its data are kept.")
        else:
            say("MD Creator is not running.")
    return 0


def stop(layout: Layout, supervisor: Supervisor) -> bool:
    """End supervisor and with it everything; then whatever is left. False if there was nothing."""
    ran = supervisor.runs()
    if ran:
        with step("stopping", "done"):
            supervisor.stop(DOWN_SECONDS)
    ended = end_leftovers(layout)
    if ended:
        say(f"  ended what was left running: {', '.join(ended)}")
    return ran or bool(ended)


def status(layout: Layout) -> int:
    """Print what runs; exit code 0 if everything is ready, else 1."""
    plan, processes = Plan.load(layout), Supervisor(layout.root).processes()
    if plan is None or processes is None:
        say("MD Creator is not running: make up")
        return 1
    with ThreadPoolExecutor() as pool:
        readiness = dict(zip(_readiness(plan), pool.map(lambda check: check(), _readiness(plan).values()), strict=True))
    unready = 0
    say(f"{'program':<14}{'state':<10}{'pid':>8}{'memory':>10}  ready  uptime")
    for name, info in ((name, processes[name]) for name in plan.programs if name in processes):
        ready = readiness.get(name, info["statename"] == "RUNNING")
        unready += not ready
        memory = _memory_mib(info["pid"])
        uptime = info["description"].partition("uptime ")[2] if info["statename"] == "RUNNING" else info["description"]
        pid = info["pid"] or "-"
        say(f"{name:<14}{info['statename'].lower():<10}{pid:>8}{memory:>10}  {'yes' if ready else 'NO':<5}  {uptime}")
    say(f"{plan.url}  (docs: {plan.url}/docs, data: {plan.data})")
    if PROVIDER in plan.programs:
        say(f"{PROVIDER}: {NOTE}")
    return 1 if unready else 0


def _memory_mib(pid: int) -> str:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return "-"
    kib = next((line.split()[1] for line in lines if line.startswith("VmRSS")), "0")
    return f"{int(kib) // 1024} MiB"


def logs(layout: Layout, names: list[str]) -> int:
    """Show the ends of these programs' logs (all: none given); follow them on a terminal."""
    files = sorted(layout.logs.glob("*.log")) if layout.logs.exists() else []
    chosen = [file for file in files if not names or file.stem.removesuffix("-access").removesuffix("-error") in names]
    if not chosen:
        known = ", ".join(file.stem for file in files)
        say(f"no log of {', '.join(names)}; there are: {known}" if files else "There are no logs yet: make up")
        return 1
    return _become_tail(chosen, 100 if names else 10)


def _become_tail(files: list[Path], lines: int) -> NoReturn:
    follow = ["-F"] if sys.stdout.isatty() else []
    os.execvp("tail", ["tail", "-n", str(lines), *follow, *map(str, files)])


def reset(layout: Layout) -> int:
    """Stop and delete all data, logs and secrets."""
    places = [layout.state, layout.outside]
    existing = [place for place in places if place.exists()]
    if sys.stdin.isatty():
        say("This deletes every document, account and key in: " + ", ".join(map(str, existing)))
        if input("Type yes to go on: ").strip() != "yes":
            say("Nothing was deleted.")
            return 1
    down(layout)
    Supervisor(layout.root).forget()
    for place in existing:
        for entry in place.iterdir():
            if entry.name == "uv":
                continue  # the private uv of the bootstrap
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    if layout.outside.exists():
        layout.outside.rmdir()
    say("Everything was deleted; make up starts afresh.")
    return 0


def execute(layout: Layout, command: list[str]) -> int:
    """Run a command with the running fleet's settings. Raises `NotUpError`."""
    _require_up(layout)
    return subprocess.run(command, cwd=layout.root, env=_tool_environment(layout), check=False).returncode


def execute_as(layout: Layout, service: str, command: list[str]) -> int:
    """Run a command with all that a service is told, secrets too. Raises `NotUpError`."""
    _require_up(layout)
    plan = Plan.load(layout)
    own = plan.programs[service]["env"] if plan else {}
    return subprocess.run(command, cwd=layout.root, env=own, check=False).returncode


def _require_up(layout: Layout) -> None:
    if Supervisor(layout.root).processes() is None:
        raise NotUpError


def _tool_environment(layout: Layout) -> dict[str, str]:
    plan = Plan.load(layout)
    return dict(os.environ) | (plan.environment if plan else {})


@contextmanager
def _alone(layout: Layout) -> Iterator[None]:
    """One `up` or `down` at a time; a second one waits."""
    with (layout.run / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another make up or make down is at work: waiting for it.")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
