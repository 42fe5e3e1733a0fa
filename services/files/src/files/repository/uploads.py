"""Uploads and quotas."""

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from common.database import Row, Transaction

_UPLOAD: Final = (
    "id, file_id, workspace_id, document_id, user_id, name, media_type, size, sha256, object_key, store_upload, "
    "part_size, state, problem, lease, leased_until, expires_at"
)
_COUNTED: Final = "workspace_id IN (SELECT q.workspace_id FROM files.quota q)"
"""Whoever left the workspace cannot free what they reserved: it is freed when the upload expires."""
_RELEASE: Final = (
    "UPDATE files.quota q SET reserved = q.reserved - over.size FROM over WHERE q.workspace_id = over.workspace_id"
)
_DISCARD: Final = (
    "INSERT INTO files.garbage (object_key, store_upload, due_at) SELECT object_key, store_upload, "
    "expires_at + interval '1 hour' FROM over ON CONFLICT DO NOTHING"
)
"""No signed request begins after its upload has expired, and none takes that long."""


class UploadRepository:
    """Uploads of one user (or, as the worker, all), and what they reserve."""

    def __init__(self, transaction: Transaction) -> None:
        self.transaction = transaction

    async def find(self, upload_id: UUID) -> Row | None:
        """An upload."""
        return await self.transaction.one(f"SELECT {_UPLOAD} FROM files.upload WHERE id = %(id)s", {"id": upload_id})

    async def reserve(self, workspace_id: UUID, size: int, limit: int) -> int | None:
        """Set bytes aside; how many are left if these do not fit, None once they are reserved."""
        await self.transaction.execute(
            "INSERT INTO files.quota (workspace_id) VALUES (%(id)s) ON CONFLICT DO NOTHING", {"id": workspace_id}
        )
        taken = await self.transaction.one(
            "UPDATE files.quota SET reserved = reserved + %(size)s WHERE workspace_id = %(id)s "
            "AND used + reserved + %(size)s <= %(limit)s RETURNING reserved",
            {"id": workspace_id, "size": size, "limit": limit},
        )
        if taken:
            return None
        usage = await self.usage(workspace_id)
        return max(0, int(limit - usage["used"] - usage["reserved"]))

    async def usage(self, workspace_id: UUID) -> Row:
        """Bytes `used` and `reserved`."""
        row = await self.transaction.one(
            "SELECT used, reserved FROM files.quota WHERE workspace_id = %(id)s", {"id": workspace_id}
        )
        return row or {"used": 0, "reserved": 0}

    async def begin(self, upload: Mapping[str, Any], seconds: int) -> Row:
        """Insert an upload that stays open for so long."""
        row = await self.transaction.one(
            "INSERT INTO files.upload (id, file_id, workspace_id, document_id, user_id, name, media_type, size, "
            "sha256, object_key, store_upload, part_size, state, expires_at) VALUES (%(id)s, %(file_id)s, "
            "%(workspace_id)s, %(document_id)s, %(user_id)s, %(name)s, %(media_type)s, %(size)s, %(sha256)s, "
            "%(object_key)s, %(store_upload)s, %(part_size)s, 'open', now() + make_interval(secs => %(seconds)s)) "
            f"RETURNING {_UPLOAD}",
            {**upload, "seconds": seconds},
        )
        assert row is not None  # noqa: S101 - an INSERT returns its row
        return row

    async def lease(self, upload_id: UUID, holder: UUID, seconds: int) -> Row | None:
        """Be the one who completes an upload; None if it is over, or somebody else does right now."""
        return await self.transaction.one(
            "UPDATE files.upload SET state = 'verifying', lease = %(holder)s, "
            "leased_until = now() + make_interval(secs => %(seconds)s) WHERE id = %(id)s "
            "AND (state = 'open' AND expires_at > now() OR state = 'verifying' AND leased_until < now()) "
            f"AND {_COUNTED} RETURNING {_UPLOAD}",
            {"id": upload_id, "holder": holder, "seconds": seconds},
        )

    async def renew(self, upload_id: UUID, holder: UUID, seconds: int) -> None:
        """The holder of the lease goes on, for so long at least."""
        await self.transaction.execute(
            "UPDATE files.upload SET leased_until = now() + make_interval(secs => %(seconds)s) "
            "WHERE id = %(id)s AND lease = %(holder)s AND state = 'verifying'",
            {"id": upload_id, "holder": holder, "seconds": seconds},
        )

    async def reopen(self, upload_id: UUID, holder: UUID) -> None:
        """Give the lease back: the upload can go on."""
        await self.transaction.execute(
            "UPDATE files.upload SET state = 'open', lease = NULL, leased_until = NULL "
            "WHERE id = %(id)s AND lease = %(holder)s AND state = 'verifying'",
            {"id": upload_id, "holder": holder},
        )

    async def end(
        self, upload_id: UUID, holder: UUID, state: str, problem: str | None = None, *, keep: bool = False
    ) -> bool:
        """The holder of the lease is done: what was reserved is free, the object garbage unless it is kept.

        False if the lease was lost.
        """
        discard = "SELECT" if keep else _DISCARD
        row = await self.transaction.one(
            "WITH over AS (UPDATE files.upload SET state = %(state)s, problem = %(problem)s, lease = NULL, "
            "leased_until = NULL WHERE id = %(id)s AND lease = %(holder)s AND state = 'verifying' AND "
            f"{_COUNTED} RETURNING workspace_id, size, object_key, store_upload, expires_at), freed AS ({_RELEASE}), "
            f"discarded AS ({discard}) SELECT size FROM over",
            {"id": upload_id, "holder": holder, "state": state, "problem": problem},
        )
        return row is not None

    async def abort(self, upload_id: UUID) -> Row | None:
        """End an open upload; None if it is not open."""
        return await self.transaction.one(
            "WITH over AS (UPDATE files.upload SET state = 'aborted' WHERE id = %(id)s AND state = 'open' "
            f"AND {_COUNTED} RETURNING {_UPLOAD}), freed AS ({_RELEASE}), discarded AS ({_DISCARD}) SELECT * FROM over",
            {"id": upload_id},
        )

    async def expire(self, limit: int) -> list[Row]:
        """As the worker: end uploads that nobody completed in time."""
        return await self.transaction.all(
            "WITH late AS (SELECT id FROM files.upload WHERE expires_at < now() AND (state = 'open' OR "
            "state = 'verifying' AND leased_until < now()) ORDER BY expires_at LIMIT %(n)s FOR UPDATE SKIP LOCKED), "
            "over AS (UPDATE files.upload u SET state = 'expired', lease = NULL FROM late WHERE u.id = late.id "
            "RETURNING u.id, u.workspace_id, u.size, u.object_key, u.store_upload, u.expires_at), "
            f"discarded AS ({_DISCARD}), "
            "freed AS (UPDATE files.quota q SET reserved = q.reserved - s.size FROM (SELECT workspace_id, "
            "sum(size) AS size FROM over GROUP BY 1) s WHERE q.workspace_id = s.workspace_id) SELECT * FROM over",
            {"n": limit},
        )

    async def forget(self, days: int) -> None:
        """As the worker: delete the rows of uploads that were over long ago."""
        await self.transaction.execute(
            "DELETE FROM files.upload WHERE expires_at < now() - make_interval(days => %(days)s) "
            "AND state NOT IN ('open', 'verifying')",
            {"days": days},
        )
