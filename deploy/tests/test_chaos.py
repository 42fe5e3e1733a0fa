"""A short storm in every run of the slow tests, and the proof that `make chaos` sees a lost edit."""

import json
import random
import subprocess
import zipfile

import pytest
from deploy.chaos import verdict
from deploy.chaos.faults import Struck, Times, longest_outages
from deploy.chaos.load import Crowd, Ledger
from deploy.chaos.run import WRITING, Storm, run
from deploy.client import Answer
from deploy.local.layout import ROOT
from deploy.tests.processes import planted_bugs

from common.revisions import SERVICES

SHORT = Times(service_kills=4, server_kills=1, cuts=1, dead_lines=1)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_nothing_acknowledged_is_lost_in_a_short_storm():
    outcome = await run(Storm(20, WRITING, SHORT, seed=1))
    assert outcome.ledger.unexpected == []
    assert outcome.verdict.lost == []
    assert outcome.verdict.doubled == []
    assert outcome.verdict.out_of_order == []
    assert outcome.ledger.unanswered > 0, "the faults must have hit the load"
    assert len(outcome.ledger.contents) > 500
    assert outcome.verdict.entries > len(outcome.ledger.contents)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_an_acknowledgement_before_the_commit_is_caught():
    kills_only = Times(8, 0, 0, 0)
    outcome = await run(Storm(20, WRITING, kills_only, 1, "acknowledge_before_commit", standstill=3))
    assert outcome.verdict.lost != []


class Reader:
    """A person whose log is made up."""

    def __init__(self, entries):
        self.entries = entries

    async def pages(self, *_path, **_params):
        return self.entries[::-1]

    async def call(self, *_path, **_params):
        chain = {"intact": True, "complete": True, "seq": len(self.entries)}
        return Answer(200, {}, json.dumps(chain).encode())


def log_of(*places):
    return [
        {"seq": n, "entity_id": entity, "version": version, "data": {"content_version": version}}
        for n, (entity, version) in enumerate(places, 1)
    ]


@pytest.mark.parametrize(
    ("entries", "wrong"),
    [
        (log_of(("a", 1), ("b", 1), ("a", 2)), ""),
        (log_of(("a", 1), ("a", 2)), "lost"),
        (log_of(("a", 1), ("b", 1), ("a", 2), ("a", 2)), "doubled"),
        (log_of(("a", 1), ("b", 1), ("a", 2), ("a", 3)), "doubled"),
        (log_of(("b", 1), ("a", 2), ("a", 1)), "out_of_order"),
        (log_of(("a", 1), ("b", 1), ("a", 2))[1:], "out_of_order"),
    ],
)
async def test_the_verdict_sees_what_is_wrong_with_a_log(monkeypatch, entries, wrong):
    monkeypatch.setattr(verdict, "REST_SECONDS", 0.0)
    ledger = Ledger(contents={("a", 1): "", ("a", 2): "", ("b", 1): ""})
    crowd = Crowd(None, [Reader(entries)], "w", "s", ledger, random.Random(0))
    found = verdict.Verdict()
    await verdict._log(crowd, found, standstill=0.1)
    assert found.clean == (not wrong)
    assert not wrong or getattr(found, wrong)


def test_the_longest_silence_counts_for_the_fault_that_began_it():
    times = [0.0, 1.0, 1.1, 4.0, 4.1]
    struck = [Struck("kill documents", 1.1, 4.0), Struck("cut redis", 3.0, 4.1), Struck("kill sync", 5.0, 6.0)]
    found = longest_outages(struck, times)
    assert {kind: (count, round(silence, 3)) for kind, (count, silence) in found.items()} == {
        "kill documents": (1, 2.9),
        "cut redis": (1, 0.1),
        "kill sync": (1, 0.0),
    }


@pytest.mark.slow
def test_no_wheel_knows_of_planted_bugs(tmp_path):
    """What tests break is patched from outside; the shipped source has no switch for it."""
    projects = ["libs/common", *(f"services/{service}" for service in SERVICES)]
    for project in projects:
        subprocess.run(
            [ROOT / "deploy/local/bootstrap.sh", "uv", "build", "--wheel", "-q", "-o", tmp_path, ROOT / project],
            check=True,
        )
    wheels = sorted(tmp_path.glob("*.whl"))
    assert len(wheels) == len(projects)
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                text = archive.read(name).lower()
                assert not [word for word in ("planted", "chaos", *planted_bugs()) if word.encode() in text], name
