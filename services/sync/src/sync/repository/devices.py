"""Statements about devices, their cursors and their leases."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

from common.database import Row, Transaction

_DEVICE = "d.id, d.name, d.platform, d.app_version, d.created_at, d.seen_at, d.last_n, d.session_id, d.removed_at"
KEPT_CURSORS = 8


class DeviceRepository:
    """Devices of one user."""

    def __init__(self, transaction: Transaction, user_id: UUID) -> None:
        self._transaction = transaction
        self._user_id = user_id

    async def put(self, device: dict[str, Any]) -> Row | None:
        """Register a device, or bind it to another session; None if the id is somebody else's. `made` if it is new."""
        return await self._transaction.one(
            "INSERT INTO sync.device AS d (id, user_id, session_id, name, platform, app_version) "
            "VALUES (%(id)s, %(user)s, %(session)s, %(name)s, %(platform)s, %(app_version)s) ON CONFLICT DO NOTHING "
            f"RETURNING {_DEVICE}, true AS made",
            {**device, "user": self._user_id},
        ) or await self._transaction.one(
            "UPDATE sync.device AS d SET session_id = CASE WHEN d.removed_at IS NULL THEN %(session)s "
            "ELSE d.session_id END, name = %(name)s, platform = %(platform)s, app_version = %(app_version)s, "
            f"seen_at = now() WHERE d.id = %(id)s RETURNING {_DEVICE}, false AS made",
            device,
        )

    async def count(self) -> int:
        """How many devices the user has."""
        row = await self._transaction.one("SELECT count(*) AS n FROM sync.device WHERE removed_at IS NULL")
        return row["n"] if row else 0

    async def find(self, device_id: UUID) -> Row | None:
        """A device, removed or not."""
        return await self._transaction.one(
            f"SELECT {_DEVICE} FROM sync.device d WHERE d.id = %(id)s", {"id": device_id}
        )

    async def list_all(self) -> list[Row]:
        """Living devices, seen last first."""
        return await self._transaction.all(
            f"SELECT {_DEVICE} FROM sync.device d WHERE d.removed_at IS NULL ORDER BY d.seen_at DESC, d.id"
        )

    async def release(self) -> None:
        """End the reads so far."""
        await self._transaction.release()

    async def shares_session(self, device_id: UUID) -> bool:
        """Whether another living device is bound to the same session."""
        row = await self._transaction.one(
            "SELECT EXISTS (SELECT 1 FROM sync.device d JOIN sync.device o USING (session_id) "
            "WHERE d.id = %(id)s AND o.id <> d.id AND o.removed_at IS NULL) AS shared",
            {"id": device_id},
        )
        return bool(row and row["shared"])

    async def remove(self, device_id: UUID, then: Callable[[], Awaitable[None]]) -> None:
        """Mark it as removed and forget its cursors; `then` runs once that is committed."""
        await self._transaction.execute(
            "WITH cursors AS (DELETE FROM sync.cursor WHERE device_id = %(id)s) "
            "UPDATE sync.device SET removed_at = coalesce(removed_at, now()) WHERE id = %(id)s",
            {"id": device_id},
        )
        self._transaction.after_commit.append(then)

    async def epoch(self) -> UUID:
        """The database's incarnation."""
        row = await self._transaction.one("SELECT epoch FROM sync.epoch")
        assert row is not None  # noqa: S101 - written by the migration
        epoch: UUID = row["epoch"]
        return epoch

    async def state(self, device_id: UUID, nonce: UUID | None) -> Row | None:
        """A device with the epoch and, if there is one of this name, a cursor's positions; `stale` after a day."""
        rows = await self._transaction.single(
            f"SELECT {_DEVICE}, e.epoch, c.positions, c.generation, c.used_at < now() - interval '1 day' AS stale "
            "FROM sync.epoch e JOIN sync.device d ON d.id = %(id)s "
            "LEFT JOIN sync.cursor c ON c.device_id = d.id AND c.nonce = %(nonce)s",
            {"id": device_id, "nonce": nonce},
        )
        return rows[0] if rows else None

    async def keep_cursor(self, device_id: UUID, nonce: UUID, generation: int, positions: bytes) -> None:
        """Store a new cursor; those before the one it was made from are forgotten, and all but a few of its siblings.

        The answer that carries it may be lost: the one it was made from stays.
        """
        await self._transaction.execute(
            "WITH known AS (SELECT nonce, row_number() OVER (ORDER BY generation DESC, used_at DESC) AS place, "
            "generation FROM sync.cursor WHERE device_id = %(device)s), "
            "old AS (DELETE FROM sync.cursor c USING known WHERE c.device_id = %(device)s AND c.nonce = known.nonce "
            "AND (known.generation < %(generation)s - 1 "
            "OR known.generation >= %(generation)s AND known.place > %(kept)s)), "
            "seen AS (UPDATE sync.device SET seen_at = now() "
            "WHERE id = %(device)s AND seen_at < now() - interval '1 minute') "
            "INSERT INTO sync.cursor (device_id, nonce, user_id, generation, positions) "
            "VALUES (%(device)s, %(nonce)s, %(user)s, %(generation)s, %(positions)s)",
            {
                "device": device_id, "nonce": nonce, "user": self._user_id, "generation": generation,
                "positions": positions, "kept": KEPT_CURSORS,
            },
        )  # fmt: skip

    async def touch(self, device_id: UUID, nonce: UUID) -> None:
        """A cursor was used that needed no successor: it stays alive."""
        await self._transaction.execute(
            "WITH used AS (UPDATE sync.cursor SET used_at = now() WHERE device_id = %(device)s AND nonce = %(nonce)s) "
            "UPDATE sync.device SET seen_at = now() WHERE id = %(device)s",
            {"device": device_id, "nonce": nonce},
        )

    async def last_generation(self, device_id: UUID) -> int:
        """Highest generation of a device's cursors."""
        row = await self._transaction.one(
            "SELECT coalesce(max(generation), 0) AS n FROM sync.cursor WHERE device_id = %(id)s", {"id": device_id}
        )
        return row["n"] if row else 0

    async def lease(self, device_id: UUID, lease: UUID, seconds: float) -> Row | None:
        """Take the right to push for a device; None while another push has it."""
        return await self._transaction.one(
            "UPDATE sync.device AS d SET lease = %(lease)s, leased_until = now() + make_interval(secs => %(seconds)s), "
            "seen_at = now() WHERE d.id = %(id)s AND (d.lease IS NULL OR d.leased_until < now()) "
            "RETURNING d.last_n",
            {"id": device_id, "lease": lease, "seconds": seconds},
        )

    async def return_lease(self, device_id: UUID, lease: UUID, last_n: int) -> None:
        """Give it back, and note the last number that was taken."""
        await self._transaction.execute(
            "UPDATE sync.device SET last_n = greatest(last_n, %(n)s), "
            "lease = CASE WHEN lease = %(lease)s THEN NULL ELSE lease END WHERE id = %(id)s",
            {"id": device_id, "lease": lease, "n": last_n},
        )
