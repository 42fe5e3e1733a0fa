"""Facts of other services that are kept here."""

from collections.abc import Sequence

from common.access import Projections
from common.access.facts import Fact, newest_of
from common.database import Transaction

from ..repository import WorkspaceRepository


class Facts(Projections):
    """Of workspaces also which models they allow, if their owner has told that."""

    async def keep_workspaces(self, transaction: Transaction, facts: Sequence[Fact]) -> None:
        """Store workspaces, and `ai_models` of those that have it."""
        await super().keep_workspaces(transaction, facts)
        if told := newest_of((fact for fact in facts if "ai_models" in fact), "workspace_id"):
            await WorkspaceRepository(transaction).keep(told)
