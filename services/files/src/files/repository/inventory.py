"""What the tables say is stored, for whoever compares it with what is."""

from common.database import Row, Transaction


class InventoryRepository:
    """As the worker: of all workspaces."""

    def __init__(self, transaction: Transaction) -> None:
        self.transaction = transaction

    async def blobs(self, after: Row | None, limit: int) -> list[Row]:
        """Some bytes behind `after`; `due` while they are to be examined."""
        return await self.transaction.all(
            "SELECT workspace_id, sha256, object_key, size, thumbnails, due_at IS NOT NULL AS due FROM files.blob "
            "WHERE %(workspace)s::uuid IS NULL OR (workspace_id, sha256) > (%(workspace)s::uuid, %(sha256)s::bytea) "
            "ORDER BY workspace_id, sha256 LIMIT %(n)s",
            {"workspace": after and after["workspace_id"], "sha256": after and after["sha256"], "n": limit},
        )

    async def uploads(self) -> list[Row]:
        """Those that are open or being completed."""
        return await self.transaction.all(
            "SELECT object_key, store_upload FROM files.upload WHERE state IN ('open', 'verifying')"
        )

    async def garbage(self) -> list[Row]:
        """All that is to be removed."""
        return await self.transaction.all("SELECT object_key, store_upload, thumbnails FROM files.garbage")

    async def wrong_quotas(self) -> list[Row]:
        """Workspaces whose `used` or `reserved` is not the sum of the rows it counts."""
        return await self.transaction.all(
            "SELECT * FROM (SELECT workspace_id, coalesce(q.used, 0)::bigint AS used, "
            "coalesce(q.reserved, 0)::bigint AS reserved, coalesce(b.size, 0)::bigint AS stored, "
            "coalesce(u.size, 0)::bigint AS awaited FROM files.quota q "
            "FULL JOIN (SELECT workspace_id, sum(size) AS size FROM files.blob GROUP BY 1) b USING (workspace_id) "
            "FULL JOIN (SELECT workspace_id, sum(size) AS size FROM files.upload "
            "WHERE state IN ('open', 'verifying') GROUP BY 1) u USING (workspace_id)) s "
            "WHERE used <> stored OR reserved <> awaited"
        )

    async def wrong_marks(self) -> list[Row]:
        """Bytes that say they have no file and have one, or the other way round."""
        return await self.transaction.all(
            "SELECT object_key, unused_at FROM files.blob b WHERE (unused_at IS NULL) = NOT EXISTS (SELECT 1 "
            "FROM files.file f WHERE f.workspace_id = b.workspace_id AND f.sha256 = b.sha256)"
        )
