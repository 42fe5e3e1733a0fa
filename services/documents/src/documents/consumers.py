"""Events in, one service call each."""

from collections.abc import Sequence

from common.access import Projections
from common.contracts.auth_gateway import MembershipChanged
from common.database import Transaction
from common.messaging import Envelope, Subscriber, read

from .repository import RootRepository


async def take_back_grants(transaction: Transaction, events: Sequence[Envelope]) -> None:
    """Whoever leaves a workspace, and is not merely suspended, comes back without the grants they had."""
    told = [read(event, MembershipChanged) for event in events]
    left = [one for one in told if one.removed and not one.suspended]
    if not left:
        return
    roots = RootRepository(transaction, None)
    found = await roots.granted_to([one.user_id for one in left], [one.workspace_id for one in left])
    if found:
        changed = await roots.ungrant([row["root_id"] for row in found], [row["principal_id"] for row in found])
        await roots.tell(list(changed), "member left")


subscribers = [
    *Projections("documents", owns_roots=True).subscribers,
    Subscriber((MembershipChanged.type,), take_back_grants),
]
