"""Which models somebody may use somewhere."""

from collections.abc import Collection
from typing import Final
from uuid import UUID

import orjson

from common.database import Database, Row

from ..errors import ModelsUnknownError
from ..repository import BudgetRepository, WorkspaceRepository
from .places import Caller, Place, Places

NOBODY: Final = UUID(int=0)


class Models:
    """By the settings of workspaces and by budgets; `ai_proxy.reserve` decides by the same."""

    def __init__(self, database: Database, places: Places) -> None:
        self._database = database
        self._places = places

    async def allowed(self, caller: Caller, place: Place) -> list[set[str]]:
        """Sets of models, of which those in all may be used; none: any. Raises `ModelsUnknownError`.

        That the caller may read there has been decided before.
        """
        user, scopes = caller.user_id, [("user", caller.user_id, NOBODY)]
        found = []
        if workspace := place.workspace_id:
            scopes += [("member", user, workspace), ("workspace", workspace, workspace)]
            if place.document_id:
                scopes.append(("document", place.document_id, workspace))
            models = (await self._of_workspace(caller, workspace))["models"]
            found = [] if models is None else [set(models)]
        async with self._database.transaction(user) as transaction:
            budgets = await BudgetRepository(transaction, caller.principal).of(scopes)
        return found + [set(row["models"] or ()) if row["enabled"] else set() for row in budgets if _narrows(row)]

    async def _of_workspace(self, caller: Caller, workspace_id: UUID) -> Row:
        for attempt in range(2):
            async with self._database.transaction(caller.user_id) as transaction:
                if found := await WorkspaceRepository(transaction).models(workspace_id):
                    return found
            if not attempt:
                await self._places.learn(caller.user_id, Place(workspace_id))
        raise ModelsUnknownError


def _narrows(row: Row) -> bool:
    return row["models"] is not None or not row["enabled"]


def only(body: bytes, allowed: Collection[set[str]]) -> bytes:
    """A provider's list of models, in either format, without those that may not be used."""
    listed = orjson.loads(body)
    if not allowed or not isinstance(listed.get("data"), list):
        return body
    listed["data"] = [
        one for one in listed["data"] if isinstance(one, dict) and all(one.get("id") in models for models in allowed)
    ]
    return orjson.dumps(listed)
