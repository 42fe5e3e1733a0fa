import json
import os
import signal
import subprocess
import sys
import time

import pytest
from deploy.local import launch


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    (tmp_path / launch.PLAN).parent.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def started(checkout):
    """A program with a child in its process group, started by the launcher; both ignore nothing."""
    script = "import subprocess, sys, time; subprocess.Popen(['sleep', '60']); time.sleep(60)"
    plan = {"argv": [sys.executable, "-c", script], "env": {}, "user": None, "cwd": "/", "stop_signal": "TERM"}
    (checkout / launch.PLAN).write_text(json.dumps({"programs": {"program": plan}}))
    process = subprocess.Popen([sys.executable, "-I", "-S", launch.__file__, "program"], start_new_session=True)
    deadline = time.monotonic() + 10
    while len(launch.leftovers("program")) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    yield process
    if launch.group_members(process.pid):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_the_launcher_becomes_the_program(started):
    assert launch.read_record("program")["pid"] == started.pid


def test_leftovers_are_ended_with_their_group(started):
    assert launch.reap("program", "TERM")
    started.wait()
    assert launch.group_members(started.pid) == []
    assert not launch.reap("program", "TERM")


def test_children_of_a_killed_program_are_found(started):
    started.kill()
    started.wait()
    assert len(launch.leftovers("program")) == 1
    assert launch.reap("program", "TERM")
    assert launch.leftovers("program") == []


@pytest.mark.parametrize("change", [{"started": "1"}, {"folder": "/elsewhere"}, {"boot": "another"}])
def test_a_process_that_is_not_ours_is_left_alone(started, change):
    file = launch.record_file("program")
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    assert launch.leftovers("program") == []
    assert not launch.reap("program", "TERM")
    assert started.poll() is None


def test_a_program_that_keeps_ending_is_slowed_down(checkout):
    pauses = [launch.write_record("program") for _ in range(4)]
    assert pauses == [0, 0, 1, 2]
    assert launch.failures("program") == 3
