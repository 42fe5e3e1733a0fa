"""How an effect is tied to its `Idempotency-Key`."""

from collections.abc import Awaitable, Callable

Claim = Callable[[], Awaitable[None]]
"""First write of an effect (see `common.idempotency`)."""
