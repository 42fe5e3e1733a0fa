"""Token buckets: the burst, the refill, the lease, and life without Redis."""

import asyncio
import os
import signal
import time
from uuid import uuid4

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from common.errors import RateLimitedError
from common.ratelimit import Policy, RateLimiter


@pytest.fixture
async def redis(backing):
    async with Redis.from_url(backing.redis_url) as connection:
        yield connection


async def take(limiter, policy, subject, times):
    granted = 0
    for _ in range(times):
        try:
            await limiter.take(policy, subject)
        except RateLimitedError:
            continue
        granted += 1
    return granted


async def test_the_burst_is_granted_and_no_more(redis):
    policy = Policy("t", per_minute=6, burst=5)
    assert await take(RateLimiter(redis), policy, str(uuid4()), 9) == 5


async def test_replicas_share_one_bucket(redis):
    policy, subject = Policy("t", per_minute=6, burst=6), str(uuid4())
    granted = await asyncio.gather(*(take(RateLimiter(redis), policy, subject, 4) for _ in range(3)))
    assert sum(granted) == 6


async def test_subjects_and_policies_do_not_share(redis):
    limiter, subject = RateLimiter(redis), str(uuid4())
    assert await take(limiter, Policy("a", 6, 2), subject, 3) == 2
    assert await take(limiter, Policy("b", 6, 2), subject, 3) == 2
    assert await take(limiter, Policy("a", 6, 2), str(uuid4()), 3) == 2


async def test_a_lease_grants_no_more_than_the_bucket_holds(redis):
    policy, subject = Policy("t", per_minute=60, burst=25, lease=10), str(uuid4())
    assert await take(RateLimiter(redis), policy, subject, 40) == 25


async def test_parallel_requests_waste_no_leased_tokens(redis):
    policy, subject, limiter = Policy("p", per_minute=600, burst=500, lease=10), str(uuid4()), RateLimiter(redis)
    granted = await asyncio.gather(*(take(limiter, policy, subject, 70) for _ in range(8)))
    assert 495 <= sum(granted) <= 520


async def test_tokens_flow_back(redis):
    policy, subject = Policy("t", per_minute=600, burst=1), str(uuid4())
    limiter = RateLimiter(redis)
    assert await take(limiter, policy, subject, 2) == 1
    await asyncio.sleep(0.12)
    assert await take(limiter, policy, subject, 2) == 1


async def test_refusal_says_when_to_come_back(redis):
    policy, subject = Policy("t", per_minute=6, burst=1), str(uuid4())
    limiter = RateLimiter(redis)
    headers = await limiter.take(policy, subject)
    assert headers == {"RateLimit-Limit": "6", "RateLimit-Remaining": "0", "RateLimit-Reset": "10"}
    with pytest.raises(RateLimitedError) as refused:
        await limiter.take(policy, subject)
    assert 9 <= int(refused.value.headers["Retry-After"]) <= 10


async def test_without_redis_a_local_bucket_limits():
    nowhere = Redis.from_url("redis://127.0.0.1:1/0", socket_connect_timeout=0.1)
    limiter = RateLimiter(nowhere)
    assert await take(limiter, Policy("t", per_minute=6, burst=5), "s", 9) == 5
    assert await take(limiter, Policy("u", per_minute=6, burst=5, lease=3), "s", 9) == 5
    await nowhere.aclose()


async def test_a_frozen_redis_costs_one_wait_not_one_a_request(backing):
    frozen = Redis.from_url(backing.redis_url, socket_timeout=0.3, retry=Retry(NoBackoff(), 0))
    limiter = RateLimiter(frozen)
    await limiter.take(Policy("t", 60, 5), "warm")
    os.kill(backing["redis"].pid, signal.SIGSTOP)
    try:
        begun = time.monotonic()
        assert await take(limiter, Policy("t", per_minute=6, burst=5), str(uuid4()), 20) == 5
        assert time.monotonic() - begun < 1.0
    finally:
        os.kill(backing["redis"].pid, signal.SIGCONT)
        await frozen.aclose()
