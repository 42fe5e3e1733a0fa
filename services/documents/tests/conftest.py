"""A workspace with an owner, an editor, a commenter, a viewer, a stranger; direct connections as each database role."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import psycopg
import pytest_asyncio
from psycopg.rows import dict_row

from common.testing.people import People, Person


@dataclass
class Place:
    """A workspace and its people."""

    id: str
    owner: Person
    editor: Person
    commenter: Person
    viewer: Person
    stranger: Person


@pytest_asyncio.fixture(scope="session")
async def place(people: People) -> Place:
    owner = await people.person("Owner")
    workspace = await people.workspace(owner)
    persons = {role: await people.person(role) for role in ("editor", "commenter", "viewer", "stranger")}
    for role in ("editor", "commenter", "viewer"):
        await people.join(workspace, persons[role], role)
    return Place(workspace, owner, **persons)


@pytest_asyncio.fixture
async def as_owner_role(environment: dict[str, str]) -> AsyncIterator[psycopg.AsyncConnection[dict]]:
    """The migration role: sees every row."""
    url = environment["DOCUMENTS_OWNER_DATABASE_URL"]
    async with await psycopg.AsyncConnection.connect(url, autocommit=True, row_factory=dict_row) as connection:
        yield connection


@pytest_asyncio.fixture
async def as_runtime_role(environment: dict[str, str]) -> AsyncIterator[psycopg.AsyncConnection[dict]]:
    """The service's own role, in one open transaction."""
    url = environment["DOCUMENTS_DATABASE_URL"]
    async with await psycopg.AsyncConnection.connect(url, row_factory=dict_row) as connection:
        yield connection
        await connection.rollback()
