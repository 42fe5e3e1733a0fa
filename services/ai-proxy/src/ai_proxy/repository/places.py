"""What the caller may do where."""

from uuid import UUID

from common.database import Transaction


class PlaceRepository:
    """Roles of one user."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def role_at(self, root_id: UUID) -> str | None:
        """Role at an access root, which a workspace is too; None: nothing there is the caller's."""
        [row] = await self._transaction.single("SELECT ai_proxy.my_role(%(root)s) AS role", {"root": root_id})
        role: str | None = row["role"]
        return role

    async def workspaces(self) -> list[UUID]:
        """Where the caller is a member or guest."""
        [row] = await self._transaction.single("SELECT ai_proxy.my_workspaces() AS ids")
        ids: list[UUID] = row["ids"]
        return ids

    async def is_member(self, workspace_id: UUID, user_id: UUID) -> bool:
        """Whether somebody belongs to a workspace, as far as is known here."""
        [row] = await self._transaction.single(
            "SELECT EXISTS (SELECT 1 FROM ai_proxy.access_member WHERE user_id = %(user)s "
            "AND workspace_id = %(workspace)s AND NOT removed) AS found",
            {"user": user_id, "workspace": workspace_id},
        )
        return bool(row["found"])
