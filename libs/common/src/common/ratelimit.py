"""Token buckets in Redis, one Lua call; a lease spares most requests even that; local buckets if Redis is down."""

import asyncio
import math
import time
from dataclasses import dataclass, field

from redis.asyncio import Redis
from redis.exceptions import RedisError

from common.errors import RateLimitedError

LOCAL_BUCKETS_KEPT = 20_000
LEASE_SECONDS = 1.0
REDIS_BACKOFF_SECONDS = 5.0

# KEYS[1] bucket; ARGV: capacity, tokens per second, wanted. Returns {granted, left, ms until the next token}.
_TAKE = """
local now = redis.call('TIME')
local t = now[1] + now[2] / 1000000
local capacity, rate, wanted = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local state = redis.call('HMGET', KEYS[1], 'n', 't')
local n = math.min(capacity, (tonumber(state[1]) or capacity) + (t - (tonumber(state[2]) or t)) * rate)
local granted = math.min(wanted, math.floor(n))
n = n - granted
redis.call('HSET', KEYS[1], 'n', tostring(n), 't', tostring(t))
redis.call('PEXPIRE', KEYS[1], math.ceil(capacity / rate * 1000) + 1000)
return {granted, math.floor(n), math.ceil(math.max(0, 1 - n) / rate * 1000)}
"""


@dataclass(frozen=True, slots=True)
class Policy:
    """`per_minute` tokens flow in steadily; `burst` may be spent at once; `lease` are fetched in one call."""

    name: str
    per_minute: int
    burst: int
    lease: int = 1


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


@dataclass(slots=True)
class _Lease:
    tokens: int = 0
    left: int = 0
    until: float = 0.0
    fetching: asyncio.Lock = field(default_factory=asyncio.Lock)

    def usable(self) -> bool:
        return self.tokens > 0 and self.until >= time.monotonic()


class RateLimiter:
    """Limits by policy and subject (user id, client IP, account)."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._script = redis.register_script(_TAKE)
        self._leases: dict[str, _Lease] = {}
        self._local: dict[str, _Bucket] = {}
        self._redis_down_until = 0.0

    async def take(self, policy: Policy, subject: str) -> dict[str, str]:
        """Spend one token; `RateLimit` headers of the answer. Raises `RateLimitedError` with Retry-After."""
        bucket = f"mdc:rate:{policy.name}:{subject}"
        lease = self._leases.get(bucket)
        if lease is None:
            if len(self._leases) > LOCAL_BUCKETS_KEPT:
                self._leases.clear()
            lease = self._leases[bucket] = _Lease()
        while not lease.usable():
            async with lease.fetching:  # requests that come at the same time share one call
                if not lease.usable():
                    await self._fetch(policy, bucket, lease)
        lease.tokens -= 1
        return _headers(policy, lease.left + lease.tokens)

    async def _fetch(self, policy: Policy, bucket: str, lease: _Lease) -> None:
        granted, left, wait = await self._ask(policy, bucket, time.monotonic())
        if granted < 1:
            raise RateLimitedError(retry_after=wait, limit=policy.per_minute, policy=policy.name)
        lease.tokens, lease.left, lease.until = granted, left, time.monotonic() + LEASE_SECONDS

    async def _ask(self, policy: Policy, bucket: str, now: float) -> tuple[int, int, float]:
        if now >= self._redis_down_until:
            try:
                granted, left, wait_ms = await self._script(
                    keys=[bucket], args=[policy.burst, policy.per_minute / 60, policy.lease]
                )
                return granted, left, wait_ms / 1000
            except (RedisError, OSError):
                self._redis_down_until = time.monotonic() + REDIS_BACKOFF_SECONDS
        return self._ask_locally(policy, bucket, now)

    def _ask_locally(self, policy: Policy, name: str, now: float) -> tuple[int, int, float]:
        rate = policy.per_minute / 60
        if len(self._local) > LOCAL_BUCKETS_KEPT:
            self._local.clear()
        bucket = self._local.setdefault(name, _Bucket(policy.burst, now))
        bucket.tokens = min(policy.burst, bucket.tokens + (now - bucket.at) * rate)
        bucket.at = now
        granted = min(policy.lease, math.floor(bucket.tokens))
        bucket.tokens -= granted
        return granted, math.floor(bucket.tokens), max(0.0, 1 - bucket.tokens) / rate


def _headers(policy: Policy, left: int) -> dict[str, str]:
    return {
        "RateLimit-Limit": str(policy.per_minute),
        "RateLimit-Remaining": str(left),
        "RateLimit-Reset": str(math.ceil((policy.burst - left) * 60 / policy.per_minute)),
    }
