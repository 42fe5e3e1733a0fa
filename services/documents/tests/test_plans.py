"""How PostgreSQL runs the hot statements under row-level security with a million documents in one workspace."""

import statistics
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
import pytest_asyncio
from psycopg.rows import dict_row

from documents.repository.documents import GET, list_statement

pytestmark = pytest.mark.slow

ROWS, ROOTS, RUNS = 1_000_000, 5_000, 21
LIST_SECONDS = 0.020
GET_SECONDS = 0.005


@dataclass
class Million:
    """A workspace of a million documents, of which 5,000 have rules of their own."""

    connection: psycopg.AsyncConnection[dict[str, Any]]
    workspace: UUID
    member: UUID
    guest: UUID
    everywhere: UUID
    """A guest with a grant at each of the 5,000."""
    hidden: UUID
    """A document only that guest may read."""


@pytest_asyncio.fixture(scope="module")
async def million(environment: dict[str, str]) -> AsyncIterator[Million]:
    workspace, member, guest, everywhere = (uuid4() for _ in range(4))
    params = {"workspace": workspace, "member": member, "guest": guest, "everywhere": everywhere, "n": ROWS}
    url = environment["MDC_ADMIN_DATABASE_URL"]
    async with await psycopg.AsyncConnection.connect(url, row_factory=dict_row, autocommit=True) as admin:
        await admin.execute("SET statement_timeout = 0")
        for statement in FILL:
            await admin.execute(statement, params)
        row = await (
            await admin.execute(
                "SELECT root_id FROM documents.access_root WHERE workspace_id = %(workspace)s "
                "AND NOT inherits ORDER BY root_id OFFSET 100 LIMIT 1",
                params,
            )
        ).fetchone()
        assert row is not None
        url = environment["DOCUMENTS_DATABASE_URL"]
        async with await psycopg.AsyncConnection.connect(url, row_factory=dict_row) as connection:
            yield Million(connection, workspace, member, guest, everywhere, row["root_id"])
        for statement in EMPTY:
            await admin.execute(statement, params)


FILL = (
    "INSERT INTO documents.access_member SELECT %(workspace)s, m.id, m.role, 1, false FROM (VALUES "
    "(%(member)s::uuid, 'editor'), (%(guest)s, 'guest'), (%(everywhere)s, 'guest')) AS m (id, role)",
    "INSERT INTO documents.body VALUES (%(workspace)s, 'x', 0, '')",
    "INSERT INTO documents.document (id, workspace_id, access_root_id, title, kind, version, content_version, "
    "body_sha256, size, field_versions, created_by, updated_by, created_at, updated_at) "
    "SELECT d.id, %(workspace)s, CASE WHEN d.n %% (%(n)s / 5000) = 0 THEN d.id ELSE %(workspace)s END, "
    "'Title ' || d.n, 'text', 1, 1, 'x', 0, '{}', %(member)s, %(member)s, now() - d.n * interval '1 second', "
    "now() - d.n * interval '1 second' FROM (SELECT gen_random_uuid() AS id, n FROM generate_series(1, %(n)s) n) AS d",
    "INSERT INTO documents.access_root SELECT id, workspace_id, 'document', workspace_id, false, false, 1 "
    "FROM documents.document WHERE workspace_id = %(workspace)s AND access_root_id = id",
    "INSERT INTO documents.access_grant SELECT root_id, %(everywhere)s, 'user', 'viewer' "
    "FROM documents.access_root WHERE workspace_id = %(workspace)s",
    "INSERT INTO documents.access_grant SELECT root_id, %(guest)s, 'user', 'viewer' "
    "FROM documents.access_root WHERE workspace_id = %(workspace)s ORDER BY root_id LIMIT 3",
    "VACUUM ANALYZE documents.document, documents.access_root, documents.access_grant, documents.access_member",
)
EMPTY = (
    "DELETE FROM documents.access_grant g USING documents.access_root r "
    "WHERE r.root_id = g.root_id AND r.workspace_id = %(workspace)s",
    "DELETE FROM documents.access_root WHERE workspace_id = %(workspace)s",
    "DELETE FROM documents.document WHERE workspace_id = %(workspace)s",
    "DELETE FROM documents.body WHERE workspace_id = %(workspace)s",
    "DELETE FROM documents.access_member WHERE workspace_id = %(workspace)s",
)


async def plan(million: Million, user: UUID, statement: str, params: dict[str, Any]) -> str:
    await million.connection.rollback()
    await million.connection.execute("SELECT set_config('app.user_id', %s, true)", (str(user),))
    rows = await (await million.connection.execute(f"EXPLAIN (ANALYZE, BUFFERS) {statement}", params)).fetchall()
    return "\n".join(row["QUERY PLAN"] for row in rows)


async def seconds(million: Million, user: UUID, statement: str, params: dict[str, Any]) -> tuple[float, int]:
    """Median time of a statement, and its rows."""
    await million.connection.rollback()
    await million.connection.execute("SELECT set_config('app.user_id', %s, true)", (str(user),))
    times, rows = [], []
    for _ in range(RUNS):
        begun = time.perf_counter()
        rows = await (await million.connection.execute(statement, params)).fetchall()
        times.append(time.perf_counter() - begun)
    return statistics.median(times), len(rows)


def listing(million: Million, **filters: Any) -> tuple[str, dict[str, Any]]:
    return list_statement("-updated_at", filters, None), {**filters, "workspace": million.workspace, "limit": 51}


async def test_a_list_asks_the_index_of_each_root_and_decides_once(million: Million) -> None:
    found = await plan(million, million.member, *listing(million))
    assert "InitPlan" in found
    assert "ix_document_updated" in found
    assert "Seq Scan on document" not in found


@pytest.mark.parametrize(("who", "rows"), [("member", 51), ("guest", 3)])
async def test_a_list_of_50_takes_less_than_20_milliseconds(million: Million, who: str, rows: int) -> None:
    median, count = await seconds(million, getattr(million, who), *listing(million))
    assert count == rows
    assert median < LIST_SECONDS


async def test_somebody_with_5000_roots_waits_longer_but_not_long(million: Million) -> None:
    median, count = await seconds(million, million.everywhere, *listing(million))
    assert count == 51
    assert median < 10 * LIST_SECONDS


async def test_one_document_is_found_by_its_key(million: Million) -> None:
    found = await plan(million, million.everywhere, GET, {"id": million.hidden})
    assert "InitPlan" in found
    assert "pk_document" in found or "document_pkey" in found
    assert "Seq Scan on document" not in found
    median, count = await seconds(million, million.member, GET, {"id": million.hidden})
    assert count == 0
    assert median < GET_SECONDS
