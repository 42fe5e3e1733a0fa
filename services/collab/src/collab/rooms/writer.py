"""Who writes into a room: a client at a socket, a script over HTTP."""

from typing import Protocol
from uuid import UUID

from common.errors import ServiceError


class Writer(Protocol):
    """Who wrote an update, and hears what became of it."""

    user_id: UUID

    @property
    def may_write(self) -> bool:
        """Asked at the moment of writing."""

    def written(self) -> None:
        """It is durable, or was before."""

    def refused(self, error: ServiceError) -> None:
        """It was not taken, and is nowhere."""

    def incomplete(self, state_vector: bytes) -> None:
        """It builds on something that is not here."""
