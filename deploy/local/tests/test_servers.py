import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from deploy.local import servers
from deploy.local.machine import is_free

ROOT = Path(__file__).parents[3]
STARTS_AND_WAITS = """
import time
from deploy.local import servers
running = servers.start(which={"redis"})
print(running.folder, running["redis"].pid, flush=True)
time.sleep(60)
"""


def until(condition, seconds=5):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def test_a_server_comes_back_with_its_port_and_data():
    with servers.start(which={"postgres"}) as running:
        postgres = running["postgres"]
        before = postgres.pid
        postgres.kill()
        assert is_free(postgres.server.port)
        postgres.start()
        assert postgres.pid != before
        assert postgres.server.is_ready()
        folder = running.folder
    assert not folder.exists()


@pytest.mark.parametrize("victim", ["caller", "guard"])
def test_nothing_survives_a_killed_test_run(victim):
    caller = subprocess.Popen(
        [sys.executable, "-c", STARTS_AND_WAITS], cwd=ROOT, env=os.environ | {"PYTHONPATH": "."}, stdout=subprocess.PIPE
    )
    folder, pid = caller.stdout.readline().split()
    redis = psutil.Process(int(pid))
    (caller if victim == "caller" else redis.parent()).send_signal(signal.SIGKILL)
    try:
        assert until(lambda: not redis.is_running() or redis.status() == psutil.STATUS_ZOMBIE)
        if victim == "caller":
            assert until(lambda: not Path(folder.decode()).exists())
    finally:
        caller.kill()
        caller.wait()
        caller.stdout.close()
        subprocess.run(["rm", "-rf", folder], check=True)


def test_servers_do_not_run_as_root():
    if os.geteuid() != 0:
        pytest.skip("only root can run things as somebody else")
    with servers.start(which={"postgres", "redis"}) as running:
        assert psutil.Process(running["postgres"].pid).username() == "postgres"
        assert psutil.Process(running["redis"].pid).username() == "redis"


def test_a_server_that_cannot_start_says_why(monkeypatch):
    monkeypatch.setattr(servers, "START_SECONDS", 1)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setattr(servers, "free_ports", lambda count: [taken.getsockname()[1]] * count)
        monkeypatch.setattr(servers.Redis, "is_ready", lambda self: False)
        with pytest.raises(servers.ServerFailedError, match="Address already in use"):
            servers.start(which={"redis"})
