"""Statements about the log and what it leaves behind; batches travel whole, so their number does not grow."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from common.database import Row, Transaction
from common.messaging import Envelope

from ..domain import Entry, Key, Scope, Tally, signed

Tallies = Mapping[Scope, Tally]

_LOG_KEY = "scope_kind, scope_id, seq, recorded_at"
_ENTRY = (
    "l.seq, l.recorded_at, l.event_id, l.type, l.aggregate_id, l.aggregate_version, l.occurred_at, l.commitment, "
    "l.hash, d.salt, d.personal"
)
_FROM = (
    "FROM sync.sync_log l LEFT JOIN sync.sync_log_detail d "
    "ON (d.scope_kind, d.scope_id, d.seq, d.recorded_at) = (l.scope_kind, l.scope_id, l.seq, l.recorded_at) "
    "WHERE l.scope_kind = %(kind)s AND l.scope_id = %(id)s "
)

# Batches travel as one JSON document: a tenth of the work of adapting arrays of uuid, bytea and jsonb one by one.
_APPEND = f"""
    WITH new AS MATERIALIZED (
        SELECT * FROM json_to_recordset(%(rows)s::json) AS r (scope_kind text, scope_id uuid, seq bigint,
            recorded_at timestamptz, event_id uuid, type text, aggregate_id uuid, aggregate_version bigint,
            occurred_at timestamptz, commitment bytea, hash bytea, salt bytea, personal jsonb)
    ), entries AS (
        INSERT INTO sync.sync_log ({_LOG_KEY}, event_id, type, aggregate_id, aggregate_version, occurred_at,
            commitment, hash)
        SELECT {_LOG_KEY}, event_id, type, aggregate_id, aggregate_version, occurred_at, commitment, hash FROM new
    ), details AS (
        INSERT INTO sync.sync_log_detail ({_LOG_KEY}, salt, personal) SELECT {_LOG_KEY}, salt, personal FROM new
    )
    UPDATE sync.scope AS s SET (seq, hash, items, checksum) = (head.seq, head.hash, head.items, head.checksum)
    FROM json_to_recordset(%(heads)s::json) AS head (kind text, id uuid, seq bigint, hash bytea, items bigint,
        checksum bigint)
    WHERE s.kind = head.kind AND s.id = head.id"""
_ITEM = (
    "scope_kind, scope_id, entity, id, seq, version, gone, reason, checksum, content_hash, size, parent_id, title, "
    "data, actor, device_id, op_id, changed_at"
)
_KEEP_ITEMS = f"""
    INSERT INTO sync.item ({_ITEM})
    SELECT {_ITEM} FROM json_to_recordset(%(items)s::json) AS r (scope_kind text, scope_id uuid, entity text, id uuid,
        seq bigint, version bigint, gone boolean, reason text, checksum bigint, content_hash text, size bigint,
        parent_id uuid, title text, data jsonb, actor uuid, device_id uuid, op_id uuid, changed_at timestamptz)
    ON CONFLICT (scope_kind, scope_id, entity, id) DO UPDATE SET ({_ITEM}) =
        ({", ".join("excluded." + name for name in _ITEM.split(", "))})"""


class LogWriter:
    """What the consumer writes, as the worker role."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def lock_aggregates(self, producers: dict[UUID, str]) -> dict[UUID, int]:
        """Last version applied of each aggregate; they stay ours until the transaction ends."""
        ids = sorted(producers)
        await self._transaction.execute(
            "INSERT INTO sync.aggregate (id, producer, version) "
            "SELECT id, producer, 0 FROM unnest(%(ids)s::uuid[], %(producers)s::text[]) AS new (id, producer) "
            "ORDER BY id ON CONFLICT DO NOTHING",
            {"ids": ids, "producers": [producers[id_] for id_ in ids]},
        )
        rows = await self._transaction.all(
            "SELECT id, version FROM sync.aggregate WHERE id = ANY(%(ids)s) ORDER BY id FOR UPDATE", {"ids": ids}
        )
        return {row["id"]: row["version"] for row in rows}

    async def set_versions(self, versions: dict[UUID, int]) -> None:
        """Note how far each aggregate has come."""
        await self._transaction.execute(
            "UPDATE sync.aggregate AS a SET version = new.version "
            "FROM unnest(%(ids)s::uuid[], %(versions)s::bigint[]) AS new (id, version) WHERE a.id = new.id",
            {"ids": list(versions), "versions": list(versions.values())},
        )

    async def parked(self, ids: Sequence[UUID]) -> list[Envelope]:
        """Events of these aggregates that wait for earlier ones."""
        rows = await self._transaction.all(
            "SELECT envelope FROM sync.parked WHERE aggregate_id = ANY(%(ids)s)", {"ids": list(ids)}
        )
        return [Envelope.decode(row["envelope"]) for row in rows]

    async def park(self, events: Sequence[Envelope]) -> None:
        """Keep events until those before them are here."""
        await self._transaction.execute(
            "INSERT INTO sync.parked (aggregate_id, version, envelope) "
            "SELECT * FROM unnest(%(ids)s::uuid[], %(versions)s::bigint[], %(envelopes)s::bytea[]) "
            "ON CONFLICT DO NOTHING",
            {**_places(events), "envelopes": [event.encode() for event in events]},
        )

    async def unpark(self, events: Sequence[Envelope]) -> None:
        """They wait no longer."""
        await self._transaction.execute(
            "DELETE FROM sync.parked AS p USING unnest(%(ids)s::uuid[], %(versions)s::bigint[]) AS done (id, version) "
            "WHERE p.aggregate_id = done.id AND p.version = done.version",
            _places(events),
        )

    async def gaps(self, older_than_seconds: float, but: Sequence[UUID] = ()) -> list[Row]:
        """Aggregates whose next event has been missing for a while: producer, last version, first one waiting."""
        return await self._transaction.all(
            "SELECT a.id, a.producer, a.version AS last, min(p.version) AS first_waiting "
            "FROM sync.parked p JOIN sync.aggregate a ON a.id = p.aggregate_id WHERE a.id <> ALL(%(but)s) "
            "GROUP BY a.id HAVING min(p.parked_at) < now() - make_interval(secs => %(age)s) ORDER BY a.id LIMIT 100",
            {"age": older_than_seconds, "but": list(but)},
        )

    async def lock_scopes(self, scopes: Sequence[Scope], genesis: bytes) -> tuple[dict[Scope, Row], datetime]:
        """Each scope's last number, hash and tally, locked in a fixed order; and the time of this transaction."""
        wanted = {"kinds": [scope.kind for scope in scopes], "ids": [scope.id for scope in scopes]}
        await self._transaction.execute(
            "INSERT INTO sync.scope (kind, id, seq, hash) "
            "SELECT kind, id, 0, %(genesis)s FROM unnest(%(kinds)s::text[], %(ids)s::uuid[]) AS new (kind, id) "
            "ORDER BY kind, id ON CONFLICT DO NOTHING",
            {**wanted, "genesis": genesis},
        )
        rows = await self._transaction.all(
            "SELECT kind, id, seq, hash, items, checksum, now() AS now FROM sync.scope "
            "WHERE (kind, id) IN (SELECT * FROM unnest(%(kinds)s::text[], %(ids)s::uuid[])) "
            "ORDER BY kind, id FOR UPDATE",
            wanted,
        )
        return {Scope(row["kind"], row["id"]): row for row in rows}, rows[0]["now"]

    async def heads(self, scopes: Collection[Scope]) -> dict[Scope, int]:
        """Last numbers of these scopes."""
        rows = await self._transaction.all(
            "SELECT kind, id, seq FROM sync.scope "
            "WHERE (kind, id) IN (SELECT * FROM unnest(%(kinds)s::text[], %(ids)s::uuid[]))",
            {"kinds": [scope.kind for scope in scopes], "ids": [scope.id for scope in scopes]},
        )
        return {Scope(row["kind"], row["id"]): row["seq"] for row in rows}

    async def append(
        self, entries: Sequence[Entry], salts: Sequence[bytes], details: Sequence[dict[str, Any]], tallies: Tallies
    ) -> None:
        """Write entries and what is personal beside them, and move the scopes' heads on."""
        rows = [
            {
                "scope_kind": entry.scope.kind,
                "scope_id": entry.scope.id,
                "seq": entry.seq,
                "recorded_at": entry.recorded_at,
                "event_id": entry.event_id,
                "type": entry.type,
                "aggregate_id": entry.aggregate_id,
                "aggregate_version": entry.aggregate_version,
                "occurred_at": entry.occurred_at,
                "commitment": _bytea(entry.commitment),
                "hash": _bytea(entry.hash),
                "salt": _bytea(salt),
                "personal": personal,
            }
            for entry, salt, personal in zip(entries, salts, details, strict=True)
        ]
        last = {entry.scope: entry for entry in entries}
        heads = [
            {
                "kind": scope.kind,
                "id": scope.id,
                "seq": entry.seq,
                "hash": _bytea(entry.hash),
                "items": tallies[scope].held,
                "checksum": signed(tallies[scope].sum),
            }
            for scope, entry in last.items()
        ]
        parameters = {"rows": orjson.dumps(rows).decode(), "heads": orjson.dumps(heads).decode()}
        await self._transaction.execute(_APPEND, parameters)

    async def held(self, ids: Sequence[UUID]) -> dict[Key, Row]:
        """Where these entities are held: `gone` and `checksum` of each."""
        rows = await self._transaction.all(
            "SELECT scope_kind, scope_id, entity, id, gone, checksum FROM sync.item WHERE id = ANY(%(ids)s) "
            "AND NOT gone AND reason IS DISTINCT FROM 'moved'",
            {"ids": list(ids)},
        )
        return {Key(Scope(row["scope_kind"], row["scope_id"]), row["entity"], row["id"]): row for row in rows}

    async def keep_items(self, items: Sequence[dict[str, Any]]) -> None:
        """Set heads of entities in their scopes."""
        await self._transaction.execute(_KEEP_ITEMS, {"items": orjson.dumps(items).decode()})

    async def keep_conflicts(self, events: Sequence[Envelope]) -> None:
        """Note documents that were made because a text could not be merged."""
        await self._transaction.execute(
            "INSERT INTO sync.conflict (copy_id, document_id, user_id, device_id, op_id, created_at) "
            "SELECT * FROM json_to_recordset(%(rows)s::json) AS r (copy_id uuid, document_id uuid, user_id uuid, "
            "device_id uuid, op_id uuid, created_at timestamptz) ON CONFLICT DO NOTHING",
            {
                "rows": orjson.dumps(
                    [
                        {
                            "copy_id": event.aggregate_id,
                            "document_id": event.data["conflict_of"],
                            "user_id": event.extensions["actor"],
                            "device_id": event.extensions.get("deviceid"),
                            "op_id": event.extensions.get("opid"),
                            "created_at": event.time,
                        }
                        for event in events
                    ]
                ).decode()
            },
        )


def _bytea(value: bytes) -> str:
    return "\\x" + value.hex()


def _places(events: Iterable[Envelope]) -> dict[str, Any]:
    pairs = [(event.aggregate_id, event.version) for event in events]
    return {"ids": [pair[0] for pair in pairs], "versions": [pair[1] for pair in pairs]}


class LogReader:
    """The log as one user may see it."""

    def __init__(self, transaction: Transaction, user_id: UUID) -> None:
        self._transaction = transaction
        self._user_id = user_id

    async def release(self) -> None:
        """End the reads so far."""
        await self._transaction.release()

    async def role_in(self, workspace_id: UUID) -> str | None:
        """The caller's role, None if the projection knows of no membership."""
        row = await self._transaction.one(
            "SELECT role FROM sync.access_member WHERE workspace_id = %(workspace)s AND user_id = %(user)s "
            "AND NOT removed",
            {"workspace": workspace_id, "user": self._user_id},
        )
        return row["role"] if row else None

    async def is_root_in(self, workspace_id: UUID, root_id: UUID) -> bool:
        """Whether a workspace has, or had, this access root."""
        row = await self._transaction.one(
            "SELECT 1 FROM sync.access_root WHERE root_id = %(root)s AND workspace_id = %(workspace)s",
            {"root": root_id, "workspace": workspace_id},
        )
        return row is not None

    async def readable(self, ids: Sequence[UUID]) -> dict[UUID, int]:
        """Those of these documents and folders the caller may read, with the version we know of each."""
        rows = await self._transaction.all(
            "SELECT id, version FROM sync.item WHERE id = ANY(%(ids)s) AND entity IN ('document', 'folder') "
            "AND reason IS DISTINCT FROM 'moved'",
            {"ids": list(ids)},
        )
        return {row["id"]: row["version"] for row in rows}

    async def page(self, scope: Scope, filters: dict[str, Any], before: int | None, limit: int) -> list[Row]:
        """One entry more than `limit`, newest first."""
        conditions = [condition for name, condition in _FILTERS.items() if filters.get(name) is not None]
        where = "".join(f"AND {condition} " for condition in conditions)
        return await self._transaction.all(
            f"SELECT {_ENTRY} {_FROM}{where}AND l.seq < coalesce(%(before)s, 9223372036854775807) "
            "ORDER BY l.seq DESC LIMIT %(limit)s",
            {**filters, "kind": scope.kind, "id": scope.id, "before": before, "limit": limit + 1},
        )

    async def chain_from(self, scope: Scope, after: int, limit: int) -> list[Row]:
        """Entries after a number, in order, as verification needs them."""
        return await self._transaction.all(
            f"SELECT {_ENTRY} {_FROM}AND l.seq > %(after)s ORDER BY l.seq LIMIT %(limit)s",
            {"kind": scope.kind, "id": scope.id, "after": after, "limit": limit},
        )

    async def head(self, scope: Scope) -> Row | None:
        """Number and hash of the newest entry, as the writer keeps them; None for a scope nothing was ever told of."""
        return await self._transaction.one(
            "SELECT seq, hash FROM sync.scope WHERE kind = %(kind)s AND id = %(id)s",
            {"kind": scope.kind, "id": scope.id},
        )

    async def hash_at(self, scope: Scope, seq: int) -> bytes | None:
        """Hash of one entry."""
        rows = await self.chain_from(scope, seq - 1, 1)
        return rows[0]["hash"] if rows and rows[0]["seq"] == seq else None


_FILTERS = {
    "document": "l.aggregate_id = %(document)s",
    "actor": "d.actor = %(actor)s",
    "type": "starts_with(l.type, %(type)s)",
    "since": "l.recorded_at >= %(since)s",
    "until": "l.recorded_at < %(until)s",
}
