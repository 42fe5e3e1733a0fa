"""Which models workspaces allow, as auth-gateway says."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import orjson

from common.database import Row, Transaction


class WorkspaceRepository:
    """What is known of workspaces; written as the worker."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def keep(self, facts: Sequence[Mapping[str, Any]]) -> None:
        """Store facts that are newer: workspace_id, ai_models, version; one of each workspace."""
        await self._transaction.execute(
            "INSERT INTO ai_proxy.workspace_models AS known (workspace_id, models, version) "
            "SELECT * FROM json_to_recordset(%(facts)s::json) AS told "
            "(workspace_id uuid, ai_models text[], version bigint) ORDER BY workspace_id "
            "ON CONFLICT (workspace_id) DO UPDATE SET (models, version) = (excluded.models, excluded.version) "
            "WHERE known.version < excluded.version",
            {"facts": orjson.dumps(facts).decode()},
        )

    async def models(self, workspace_id: UUID) -> Row | None:
        """`models` that may be used there, null: all; None if what is known is older than the workspace."""
        return await self._transaction.one(
            "SELECT m.models FROM ai_proxy.workspace_models m WHERE m.workspace_id = %(id)s AND NOT EXISTS ("
            "SELECT 1 FROM ai_proxy.access_workspace w WHERE w.workspace_id = %(id)s AND w.version > m.version)",
            {"id": workspace_id},
        )
