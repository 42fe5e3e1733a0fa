"""What these tests share: the owner's view of the tables, sent mails, visitors with an address of their own."""

import itertools
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from common.testing.fleet import Client, Fleet
from common.testing.people import People

PROBLEM_MEMBERS = {"type", "title", "status", "detail", "code", "trace_id"}

Rows = Callable[..., Awaitable[list[Any]]]
Refused = Callable[[httpx.Response, int, str], dict[str, Any]]


@pytest.fixture(scope="session")
def owner(environment: dict[str, str]) -> Rows:
    """Runs one statement as the schema's owner, who sees every row."""

    async def run(statement: str, *parameters: Any) -> list[Any]:
        url = environment["AUTH_GATEWAY_OWNER_DATABASE_URL"]
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            cursor = await connection.execute(statement, parameters)
            return await cursor.fetchall() if cursor.description else []

    return run


@pytest.fixture(scope="session")
def told(owner: Rows) -> Callable[[str], Awaitable[list[Any]]]:
    """Events of one aggregate, oldest first: the last part of the type, version, data."""

    async def read(aggregate: Any) -> list[Any]:
        return await owner(
            "SELECT split_part(type, '.', 3), aggregate_version, data FROM auth_gateway.event WHERE aggregate_id = %s "
            "ORDER BY aggregate_version",
            str(aggregate),
        )

    return read


@pytest.fixture(scope="session")
def runtime(environment: dict[str, str]) -> Callable[..., Any]:
    """A connection as the runtime role, with this user's context or none."""

    @asynccontextmanager
    async def connect(user: Any = None) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        url = environment["AUTH_GATEWAY_DATABASE_URL"]
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            if user:
                await connection.execute("SELECT set_config('app.user_id', %s, false)", (str(user),))
            yield connection

    return connect


@pytest.fixture(scope="session")
def facts(fleet: Fleet) -> Callable[[Any], Awaitable[dict[str, Any]]]:
    """What other services are answered about a user's rights."""

    async def ask(user: Any) -> dict[str, Any]:
        client = fleet["documents"].app.state.platform.client
        answer: dict[str, Any] = await client.get("auth-gateway", f"/internal/users/{user}/access")
        return answer

    return ask


@pytest.fixture(scope="session")
def revoked(owner: Rows) -> Callable[[str], Awaitable[set[str]]]:
    """Announced revocations that begin with this text."""

    async def read(start: str) -> set[str]:
        rows = await owner("SELECT entry FROM auth_gateway.revocation WHERE starts_with(entry, %s)", start)
        return {entry for (entry,) in rows}

    return read


@pytest.fixture(scope="session")
def refused() -> Refused:
    """Checks that an answer is a problem of this status and code; its members."""

    def check(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
        assert answer.headers["content-type"] == "application/problem+json", answer.text
        body: dict[str, Any] = answer.json()
        assert (answer.status_code, body["code"]) == (status, code), body
        assert body.keys() >= PROBLEM_MEMBERS
        assert body["status"] == status
        assert body["type"] == f"urn:mdcreator:problem:{code}"
        assert re.fullmatch(r"[0-9a-f]{32}", body["trace_id"])
        return body

    return check


@pytest.fixture(scope="session")
def mails(environment: dict[str, str]) -> Callable[[str], list[EmailMessage]]:
    """Mails to one address, oldest first."""
    folder = Path(environment["MDC_MAIL_DIR"])

    def read(to: str) -> list[EmailMessage]:
        found = [message_from_bytes(file.read_bytes(), policy=policy.default) for file in sorted(folder.glob("*.eml"))]
        return [message for message in found if message["To"] == to]

    return read


@pytest.fixture(scope="session")
def mailed_secret(mails: Callable[[str], list[EmailMessage]]) -> Callable[[str], str]:
    """The secret in the link of the newest mail to an address."""

    def find(to: str) -> str:
        match = re.search(r"https?://\S+?(?:token=|/invitations/)([\w-]{40,})", mails(to)[-1].get_content())
        assert match
        return match[1]

    return find


@pytest.fixture(scope="session")
def visitor(people: People) -> Callable[[], Client]:
    """Makes anonymous clients, each behind an address of its own as the gateway would note it."""
    addresses = (f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}" for n in itertools.count(1))

    def make() -> Client:
        client = people.client()
        client.headers["X-Forwarded-For"] = next(addresses)
        return client

    return make


@dataclass
class Account:
    """Somebody who signed up with a password."""

    id: str
    email: str
    password: str
    http: Client

    async def login(self, **fields: Any) -> dict[str, Any]:
        """Tokens of a new session."""
        answer = await self.http.post("/v1/auth/login", json={"email": self.email, "password": self.password, **fields})
        assert answer.status_code == 200, answer.text
        tokens: dict[str, Any] = answer.json()
        return tokens


@pytest.fixture(scope="session")
def sign_up(visitor: Callable[[], Client]) -> Callable[[], Awaitable[Account]]:
    """Registers a new account as everybody does; its client sends no token."""

    async def register() -> Account:
        email, password = f"ada-{secrets.token_hex(8)}@example.org", f"{secrets.token_hex(8)} tundra kettle"
        http = visitor()
        answer = await http.post(
            "/v1/auth/register", json={"email": email, "password": password, "display_name": "Ada"}
        )
        assert answer.status_code == 201, answer.text
        return Account(answer.json()["user"]["id"], email, password, http)

    return register
