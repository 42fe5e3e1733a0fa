"""The simulator finds nothing in what is, and something in each bug that is planted."""

import pytest
from deploy.simulate import mutants
from deploy.simulate.history import play

STEPS = 60


@pytest.mark.parametrize("first", range(1, 301, 50))
def test_some_hundred_histories_hold(first):
    bad = [outcome for seed in range(first, first + 50) if (outcome := play(seed, STEPS)).violations]
    assert not bad, f"make simulate N=1 SEED={bad[0].seed}: {bad[0].violations[0]}"


def test_a_seed_is_a_history():
    one, other = play(7, STEPS), play(7, STEPS)
    assert one.trace == other.trace


@pytest.mark.parametrize(
    "name", ["position moved past a cut page", "stale base taken for current", "tally never loses"]
)
def test_a_planted_bug_is_found(name):
    assert mutants.hunt(name, 100)
