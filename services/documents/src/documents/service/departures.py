"""What becomes of the grants of people who leave a workspace."""

from collections.abc import Sequence
from uuid import UUID

from ..repository import RootRepository


class DepartureService:
    """Cleans up after memberships have ended; their grants had no effect any more since then."""

    def __init__(self, roots: RootRepository) -> None:
        self._roots = roots

    async def take_back_grants(self, left: Sequence[tuple[UUID, UUID]]) -> None:
        """Remove the grants of these (user, workspace) pairs, unless they have come back meanwhile.

        Nobody changes rules meanwhile: they are written whole, and would be written back.
        """
        await self._roots.lock_trees({place for _, place in left})
        found = await self._roots.granted_to([user for user, _ in left], [place for _, place in left]) if left else []
        if found:
            changed = await self._roots.ungrant(
                [row["root_id"] for row in found], [row["principal_id"] for row in found]
            )
            await self._roots.tell(list(changed), "member left")
