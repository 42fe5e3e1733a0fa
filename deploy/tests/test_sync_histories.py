"""The simulator's histories on real services, PostgreSQL and RabbitMQ: whatever happens, all devices end up equal."""

import asyncio

import pytest
import pytest_asyncio
from deploy.tests.real_history import Place, play
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

STEPS = 40
seeds = st.integers(0, 2**48)


@pytest_asyncio.fixture
async def place(fleet, people, environment):
    return Place(fleet, people, environment, asyncio.get_running_loop())


def property_of(examples):
    return settings(
        max_examples=examples, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )


async def hold(place, seed):
    outcome = (await asyncio.to_thread(play, place, seed, STEPS)).outcome
    assert not outcome.violations, (seed, outcome.violations[0], outcome.trace[-60:])


@property_of(8)
@given(seed=seeds)
async def test_some_histories_hold(place, seed):
    await hold(place, seed)


@pytest.mark.slow
@pytest.mark.timeout(1500)
@property_of(200)
@given(seed=seeds)
async def test_two_hundred_histories_hold(place, seed):
    await hold(place, seed)
