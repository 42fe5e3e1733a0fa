"""Revocations: written with the change, told to this process and to all others once it is committed."""

import time
from collections.abc import Mapping
from uuid import UUID

from redis.asyncio import Redis

from common.auth import Revocations
from common.revocations import publish

from ..repository import AccountRepository

# Longer than any access token lives, clock skew included.
SESSION_ENTRY_SECONDS = 3600 + 300
# Projections learn of a change by this entry alone, so it stays for as long as a service may have been away.
MEMBER_ENTRY_SECONDS = 30 * 24 * 3600


class Announcer:
    """Announces ended sessions and changed memberships."""

    def __init__(self, redis: Redis, revocations: Revocations) -> None:
        self._redis = redis
        self._revocations = revocations

    async def sessions_ended(self, repository: AccountRepository, session_ids: list[UUID]) -> None:
        """Refuse the tokens of these sessions everywhere."""
        expiry = time.time() + SESSION_ENTRY_SECONDS
        await self._announce(repository, {f"session:{session_id}": expiry for session_id in session_ids})

    async def member_changed(
        self, repository: AccountRepository, workspace_id: UUID, user_id: UUID, version: int
    ) -> None:
        """Make every projection below `version` ask again before it decides."""
        expiry = time.time() + MEMBER_ENTRY_SECONDS
        await self._announce(repository, {f"member:{workspace_id}:{user_id}:{version}": expiry})

    async def _announce(self, repository: AccountRepository, entries: Mapping[str, float]) -> None:
        if not entries:
            return
        await repository.revoke(entries)

        async def tell() -> None:
            for entry, expiry in entries.items():
                self._revocations.add(entry, expiry)
            await publish(self._redis, entries)

        repository.transaction.after_commit.append(tell)
