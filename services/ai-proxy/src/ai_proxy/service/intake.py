"""How many requests lie in memory before anything is reserved for them; more are refused, so that none waits."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from uuid import UUID

from ..errors import TooManyCallsError

LARGE_BYTES: Final = 1024 * 1024
LARGE_AT_ONCE = 32
"""Read, a body can take twenty times its length."""
RETRY_SECONDS: Final = 1


class Intake:
    """Of this process; a request is in it until its provider has answered."""

    def __init__(self, per_user: int) -> None:
        self._per_user = per_user
        self.users: Counter[UUID] = Counter()
        self.large = 0

    @contextmanager
    def reading(self, user_id: UUID) -> Iterator[None]:
        """While a request of a user's is read. Raises `TooManyCallsError`."""
        if self.users[user_id] >= self._per_user:
            raise TooManyCallsError("wait for one to be answered", retry_after=RETRY_SECONDS)
        self.users[user_id] += 1
        try:
            yield
        finally:
            self.users[user_id] -= 1
            if not self.users[user_id]:
                del self.users[user_id]

    @contextmanager
    def holding_large(self) -> Iterator[None]:
        """While a body of more than `LARGE_BYTES` is held. Raises `TooManyCallsError`."""
        if self.large >= LARGE_AT_ONCE:
            raise TooManyCallsError("too many long requests at the moment", retry_after=RETRY_SECONDS)
        self.large += 1
        try:
            yield
        finally:
            self.large -= 1
