"""The log's writer side without a bus, and people for its reader side."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg
import pytest
import pytest_asyncio
from psycopg.rows import dict_row

from common.contracts.auth_gateway import membership_id
from common.database import Database
from common.identifiers import uuid7
from common.messaging import Envelope, Inbox
from sync.consumers import subscribers
from sync.domain import Scope

from .device import Device


def document_event(document: UUID, version: int, root: UUID, **data: Any) -> Envelope:
    """What documents tells about a change."""
    kind = "created" if version == 1 else "updated"
    state = {
        "document_id": str(document), "workspace_id": str(root), "access_root_id": str(root), "version": version,
        "content_version": version, "content_hash": f"{version:064x}", "size": 10, "title": f"T{version}",
        "language": None, "kind": "text", "origin": "save",
    }  # fmt: skip
    return Envelope(
        id=uuid7(),
        type=f"documents.document.{kind}.v1",
        aggregate_id=document,
        version=version,
        time=datetime.now(UTC),
        data={**state, **data},
        extensions={"actor": str(uuid7()), "sessionid": str(uuid7()), "clientip": "127.0.0.1", "authmethod": "pwd"},
    )


def member_event(workspace: UUID, user: UUID, version: int, role: str = "editor", *, removed: bool = False) -> Envelope:
    """What auth-gateway tells about a membership."""
    data = {"workspace_id": str(workspace), "user_id": str(user), "role": role, "removed": removed, "version": version}
    event = document_event(membership_id(workspace, user), version, workspace)
    return replace(event, type="auth-gateway.membership.changed.v1", data=data)


class Log:
    """The consumer's side, and what it left in the tables."""

    def __init__(self, database: Database, owner: psycopg.AsyncConnection[dict[str, Any]]) -> None:
        self.inbox = Inbox(database, "sync", "sync-test", subscribers)
        self.database = database
        self.owner = owner

    async def apply(self, *events: Envelope) -> None:
        """One batch."""
        await self.inbox.apply(events)

    async def rows(self, statement: str, *parameters: Any) -> list[dict[str, Any]]:
        """As the schema's owner."""
        return await (await self.owner.execute(statement, parameters)).fetchall()

    async def entries(self, scope: Scope) -> list[dict[str, Any]]:
        """A scope's log, in order."""
        return await self.rows(
            "SELECT * FROM sync.sync_log WHERE scope_kind = %s AND scope_id = %s ORDER BY seq", *scope
        )

    async def versions(self, root: UUID, aggregate: UUID) -> list[int]:
        """Versions of an aggregate in the order they were logged."""
        entries = await self.entries(Scope("root", root))
        return [entry["aggregate_version"] for entry in entries if entry["aggregate_id"] == aggregate]


@pytest_asyncio.fixture
async def log(environment: dict[str, str]) -> AsyncIterator[Log]:
    database = Database(environment["SYNC_WORKER_DATABASE_URL"], max_size=4, timeout=5)
    await database.open()
    owner_url = environment["SYNC_OWNER_DATABASE_URL"]
    async with await psycopg.AsyncConnection.connect(owner_url, autocommit=True, row_factory=dict_row) as owner:
        yield Log(database, owner)
    await database.close()


@pytest.fixture
def history() -> Any:
    """Makes a document's events."""

    def make(count: int, root: UUID | None = None) -> Sequence[Envelope]:
        document, place = uuid7(), root or uuid7()
        return [document_event(document, version, place) for version in range(1, count + 1)]

    return make


@pytest.fixture
def device() -> Any:
    """Registers a device of a person and bootstraps it."""

    async def make(person: Any, **options: Any) -> Device:
        made = await Device(person).register()
        await made.bootstrap(**options)
        return made

    return make


@pytest.fixture
def desk(people: Any) -> Any:
    """Somebody with a workspace and a registered device."""

    async def make(name: str = "Ada") -> tuple[Any, str, Device]:
        person = await people.person(name)
        workspace = await people.workspace(person)
        return person, workspace, await Device(person).register()

    return make
