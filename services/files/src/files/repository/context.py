"""Context files."""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from psycopg import errors as pg

from common.auth import Principal
from common.database import Row, Transaction

from ..errors import DocumentNotFoundError

_CONTEXT: Final = "c.id, c.file_id, c.workspace_id, c.document_id, c.user_id, c.created_by, c.created_at"


class ContextRepository:
    """Context files as one user may know of them."""

    def __init__(self, transaction: Transaction, principal: Principal) -> None:
        self._transaction = transaction
        self._principal = principal

    async def find(self, context_id: UUID) -> Row | None:
        """A context file."""
        return await self._transaction.one(
            f"SELECT {_CONTEXT} FROM files.context_file c WHERE c.id = %(id)s", {"id": context_id}
        )

    async def list_in(
        self, workspace_id: UUID, document_id: UUID | None, *, after: Sequence[Any] | None, limit: int
    ) -> list[Row]:
        """One more than `limit` of a workspace's, by id: all, or those the AI reads along with a document."""
        return await self._transaction.all(
            f"SELECT {_CONTEXT} FROM files.context_file c WHERE c.workspace_id = %(workspace)s "
            "AND (%(document)s::uuid IS NULL OR c.document_id IS NULL OR c.document_id = %(document)s) "
            "AND (%(after)s::uuid IS NULL OR c.id > %(after)s) ORDER BY c.id LIMIT %(limit)s + 1",
            {
                "workspace": workspace_id, "document": document_id, "after": after and after[0], "limit": limit,
            },
        )  # fmt: skip

    async def create(self, context: Mapping[str, Any]) -> None:
        """Insert one. Raises `DocumentNotFoundError`."""
        try:
            await self._transaction.execute(
                "INSERT INTO files.context_file (id, file_id, workspace_id, document_id, user_id, created_by) "
                "VALUES (%(id)s, %(file_id)s, %(workspace_id)s, %(document_id)s, %(user_id)s, %(by)s)",
                {**context, "by": self._principal.user_id},
            )
        except pg.ForeignKeyViolation as error:  # deleted for good a moment ago
            raise DocumentNotFoundError from error

    async def delete(self, context_id: UUID) -> None:
        """Delete one."""
        await self._transaction.execute("DELETE FROM files.context_file WHERE id = %(id)s", {"id": context_id})
