"""The whole local start, in a folder with an awkward name: up, killed, up again, down, up, reset."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from deploy.local import fleet
from deploy.local.layout import Layout
from deploy.local.machine import free_ports, is_free
from deploy.local.plan import Plan
from deploy.local.supervision import Supervisor, socket_of

from common.revisions import SERVICES
from common.settings import env_prefix

ROOT = Path(__file__).parents[3]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def outside():
    """The environment without what other tests of the run told their own fleet."""
    told = ("MDC_", *(env_prefix(service) for service in SERVICES))
    return {name: value for name, value in os.environ.items() if not name.startswith(told)}


class Checkout:
    """A copy of this one's deploy folder that borrows its environment."""

    def __init__(self, root, settings=None):
        self.root, self.layout, self.supervisor = root, Layout(root), Supervisor(root)
        self.socket = socket_of(root)
        self.settings = settings or self.own_ports()

    @staticmethod
    def own_ports():
        """A block nobody listens in."""
        base = next(base for base in range(20000, 31300, 100) if all(map(is_free, range(base, base + 700))))
        # Not in the block that begins there, nor is the one after it.
        port = next(port for port in free_ports(20) if not base - 1 <= port < base + 1000)
        return {"GATEWAY_PORT": str(port), "PORT_BASE": str(base)}

    def run(self, *arguments, code=0, **settings):
        done = subprocess.run(
            [".venv/bin/python", "-m", "deploy.local", *arguments],
            cwd=self.root,
            env=outside() | self.settings | settings,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == code, done.stdout
        return done.stdout

    @property
    def plan(self):
        return Plan.load(self.layout)

    def is_ready(self, name):
        if name in self.plan.service_ports:
            return fleet.answers_ok(self.plan.service_ports[name], "/health/ready")
        return name != "gateway" or fleet.answers_ok(self.plan.gateway_port, "/docs/")

    def pids(self):
        return {name: info["pid"] for name, info in self.supervisor.processes().items()}

    def wait(self, condition, seconds=60):
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.run("status", code=1)
            time.sleep(0.1)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    root = tmp_path_factory.mktemp("fleet") / ("MD Creator ü #1; 100% " + "long " * 12)
    root.mkdir()
    shutil.copytree(ROOT / "deploy", root / "deploy", ignore=shutil.ignore_patterns("tests", "__pycache__", "seed.py"))
    (root / ".venv").symlink_to(sys.prefix)
    made = Checkout(root)
    yield made
    made.run("reset")
    assert not Path(made.socket).exists()
    left = [process for process in psutil.process_iter(["cmdline", "cwd"]) if str(root) in str(process.info)]
    assert not left
    assert not made.layout.outside.exists()


def test_up_says_where_and_a_second_one_that_it_is_up(checkout):
    said = checkout.run("up")
    url = f"http://127.0.0.1:{checkout.settings['GATEWAY_PORT']}"
    assert f"API    {url}\n" in said
    again = checkout.run("up")
    assert "already up" in again
    assert "other values" not in again
    checkout.settings["GATEWAY_PORT"], port = (
        str(int(checkout.settings["GATEWAY_PORT"]) + 1),
        checkout.settings["GATEWAY_PORT"],
    )
    other = checkout.run("up")
    checkout.settings["GATEWAY_PORT"] = port
    assert "runs with other values of GATEWAY_PORT: make down first" in other
    assert url in again
    assert all(checkout.is_ready(name) for name in checkout.plan.programs)


def test_a_taken_port_is_named(checkout):
    other = Checkout(checkout.root.parent / "other", checkout.settings)
    other.root.mkdir()
    shutil.copytree(checkout.root / "deploy", other.root / "deploy")
    (other.root / ".venv").symlink_to(sys.prefix)
    said = other.run("up", code=1)
    port = checkout.settings["GATEWAY_PORT"]
    assert f"port {port} is taken by pid " in said
    assert "(nginx); set GATEWAY_PORT=" in said
    shutil.rmtree(other.root)
    shutil.rmtree(other.layout.outside, ignore_errors=True)


def test_private_means_private(checkout):
    checkout.run("up")
    for name, pid in checkout.pids().items():
        process = psutil.Process(pid)
        listening = [c.laddr.ip for c in process.net_connections() if c.status == psutil.CONN_LISTEN]
        assert set(listening) <= {"127.0.0.1", "::1"}, name
        if os.geteuid() == 0 and name in {"postgres", "redis", "rabbitmq", "epmd"}:
            assert process.username() != "root"
    for file in (checkout.layout.secrets, checkout.root / ".state/run/plan.json", checkout.root / ".state/run"):
        assert file.stat().st_mode & 0o077 == 0


def test_a_killed_program_comes_back_and_the_others_stay(checkout):
    checkout.run("up")
    for name in checkout.plan.programs:
        before = checkout.pids()
        os.kill(before[name], signal.SIGKILL)
        checkout.wait(lambda name=name, before=before: checkout.pids()[name] not in (0, before[name]))
        checkout.wait(lambda: all(checkout.is_ready(each) for each in checkout.plan.programs))
        after = checkout.pids()
        assert {each for each in after if after[each] != before[each]} == {name}


def test_a_killed_supervisor_stops_nothing_and_is_cleaned_up(checkout):
    checkout.run("up")
    before = checkout.pids()
    os.kill(int((checkout.root / ".state/run/supervisord.pid").read_text()), signal.SIGKILL)
    checkout.wait(lambda: not checkout.supervisor.runs())
    assert all(map(psutil.pid_exists, before.values()))
    assert "ended what an earlier start had left running" in checkout.run("up")
    assert not set(before.values()) & set(checkout.pids().values())


def test_down_ends_everything_and_up_finds_the_data(checkout):
    checkout.run("up")
    before = [psutil.Process(pid) for pid in checkout.pids().values()]
    identifier = (Path(checkout.plan.data) / "postgres/cluster/PG_VERSION").stat().st_ino
    secrets = json.loads(checkout.layout.secrets.read_text())
    assert "stopped" in checkout.run("down")
    assert not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in before)
    assert "not running" in checkout.run("down")
    assert "not running" in checkout.run("status", code=1)
    begun = time.monotonic()
    checkout.run("up")
    print(f"warm start: {time.monotonic() - begun:.1f} s")
    assert (Path(checkout.plan.data) / "postgres/cluster/PG_VERSION").stat().st_ino == identifier
    assert json.loads(checkout.layout.secrets.read_text()) == secrets
