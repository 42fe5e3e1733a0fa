"""The yardstick: the least FastAPI + psycopg that creates, saves, gets and lists documents.

No gateway, users, rights, row-level security, limits, merging, traces or compression. Its statements are all here.
`python -m deploy.bench.minimal <dsn> <port>`
"""

import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import uvicorn
from fastapi import FastAPI, Request, Response
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool
from pydantic import BaseModel

STATEMENTS = {
    "schema": """
        CREATE SCHEMA IF NOT EXISTS bench;
        CREATE TABLE IF NOT EXISTS bench.document (id uuid PRIMARY KEY, workspace_id uuid NOT NULL, title text NOT NULL,
            body text NOT NULL, version bigint NOT NULL, updated_at timestamptz NOT NULL DEFAULT now());
        CREATE INDEX IF NOT EXISTS document_updated ON bench.document (workspace_id, updated_at DESC, id DESC);
        CREATE TABLE IF NOT EXISTS bench.version (document_id uuid, n bigint, body text, PRIMARY KEY (document_id, n));
        CREATE TABLE IF NOT EXISTS bench.outbox (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, data jsonb);
    """,
    "create": """
        WITH head AS (INSERT INTO bench.document (id, workspace_id, title, body, version)
            VALUES (%(id)s, %(workspace_id)s, %(title)s, %(content)s, 1)
            RETURNING id, workspace_id, title, version, updated_at),
        v AS (INSERT INTO bench.version SELECT id, version, %(content)s FROM head),
        o AS (INSERT INTO bench.outbox (data) SELECT jsonb_build_object('id', id, 'version', version) FROM head)
        SELECT * FROM head""",
    "save": """
        WITH head AS (UPDATE bench.document SET body = %(content)s, version = version + 1, updated_at = now()
            WHERE id = %(id)s AND version = %(base)s RETURNING id, workspace_id, title, version, updated_at),
        v AS (INSERT INTO bench.version SELECT id, version, %(content)s FROM head),
        o AS (INSERT INTO bench.outbox (data) SELECT jsonb_build_object('id', id, 'version', version) FROM head)
        SELECT * FROM head""",
    "get": "SELECT id, workspace_id, title, version, updated_at FROM bench.document WHERE id = %(id)s",
    "content": "SELECT body, version FROM bench.document WHERE id = %(id)s",
    "list": """
        SELECT id, workspace_id, title, version, updated_at FROM bench.document WHERE workspace_id = %(workspace_id)s
        ORDER BY updated_at DESC, id DESC LIMIT 51""",
}


class Create(BaseModel):
    workspace_id: uuid.UUID
    title: str
    content: str


def application(dsn: str) -> FastAPI:
    pool = AsyncConnectionPool(
        dsn, open=False, min_size=8, max_size=8, kwargs={"autocommit": True, "row_factory": dict_row}
    )

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await pool.open()
        async with pool.connection() as connection:
            await connection.execute(STATEMENTS["schema"])
        yield
        await pool.close()

    app = FastAPI(lifespan=lifespan)

    async def rows(name: str, **params: object) -> list[Any]:
        async with pool.connection() as connection:
            return await (await connection.execute(STATEMENTS[name], params)).fetchall()

    @app.post("/documents")
    async def create(body: Create) -> Response:
        row = (await rows("create", id=uuid.uuid4(), **body.model_dump()))[0]
        return Response(orjson.dumps(row), 201, media_type="application/json")

    @app.put("/documents/{document_id}/content")
    async def save(document_id: uuid.UUID, base: int, request: Request) -> Response:
        found = await rows("save", id=document_id, base=base, content=(await request.body()).decode())
        return Response(orjson.dumps(found[0]) if found else b"", 200 if found else 412, media_type="application/json")

    @app.get("/documents/{document_id}")
    async def get(document_id: uuid.UUID) -> Response:
        return Response(orjson.dumps((await rows("get", id=document_id))[0]), media_type="application/json")

    @app.get("/documents/{document_id}/content")
    async def content(document_id: uuid.UUID) -> Response:
        return Response(str((await rows("content", id=document_id))[0]["body"]), media_type="text/markdown")

    @app.get("/documents")
    async def page(workspace_id: uuid.UUID) -> Response:
        return Response(orjson.dumps(await rows("list", workspace_id=workspace_id)), media_type="application/json")

    return app


if __name__ == "__main__":
    uvicorn.run(
        application(sys.argv[1]), port=int(sys.argv[2]), access_log=False, log_level="warning", loop="uvloop",
        http="httptools",
    )  # fmt: skip
