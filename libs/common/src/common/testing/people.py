"""People for tests: accounts and sessions as registration and login would make them, without hashing passwords."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg

from common.identifiers import uuid7

from .fleet import Client, Fleet

NO_PASSWORD = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$c29tZWhhc2g"


@dataclass
class Person:
    """Somebody signed in."""

    id: UUID
    email: str
    session_id: UUID
    token: str
    http: Client


class People:
    """Makes persons; ask `workspace_of` for a place where several of them work."""

    def __init__(self, fleet: Fleet, owner_url: str) -> None:
        self._fleet = fleet
        self._owner_url = owner_url
        self._clients: list[Client] = []

    async def close(self) -> None:
        """Close their HTTP clients."""
        for client in self._clients:
            await client.aclose()

    def client(self, token: str | None = None) -> Client:
        """A client with any token, or none."""
        client = Client(self._fleet, token)
        self._clients.append(client)
        return client

    async def person(self, name: str = "Ada") -> Person:
        """A new account with a living session."""
        user_id = uuid7()
        email = f"{name.lower()}-{user_id.hex}@example.org"
        async with await psycopg.AsyncConnection.connect(self._owner_url) as connection:
            await connection.execute(
                "INSERT INTO auth_gateway.account (id, email, display_name, password_hash, version) "
                "VALUES (%s, %s, %s, %s, 1)",
                (user_id, email, name, NO_PASSWORD),
            )
            return await self._signed_in(connection, user_id, email)

    async def sign_in(self, person: Person) -> Person:
        """The same person in another session."""
        async with await psycopg.AsyncConnection.connect(self._owner_url) as connection:
            return await self._signed_in(connection, person.id, person.email)

    async def _signed_in(self, connection: psycopg.AsyncConnection[Any], user_id: UUID, email: str) -> Person:
        session_id = uuid7()
        await connection.execute(
            "INSERT INTO auth_gateway.session (id, user_id, amr, generation, refresh_hash, expires_at) "
            "VALUES (%s, %s, 'pwd', 1, '\\x00', now() + interval '1 day')",
            (session_id, user_id),
        )
        issuer = self._fleet["auth-gateway"].app.state.resources.issuer
        token: str = issuer.issue(user_id, session_id, amr=["pwd"], email_verified=False)
        return Person(user_id, email, session_id, token, self.client(token))

    async def workspace(self, owner: Person, name: str = "Notes") -> str:
        """A workspace of `owner`'s; its id."""
        answer = await owner.http.post("/v1/workspaces", json={"name": name})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def join(self, workspace_id: str, person: Person, role: str) -> None:
        """Make `person` a member, as an accepted invitation would."""
        async with await psycopg.AsyncConnection.connect(self._owner_url) as connection:
            await connection.execute(
                "INSERT INTO auth_gateway.member (workspace_id, user_id, role, version, removed) "
                "VALUES (%s, %s, %s, 1, false)",
                (workspace_id, person.id, role),
            )

    async def folder(
        self, person: Person, workspace_id: str, name: str = "Folder", parent: str | None = None
    ) -> dict[str, Any]:
        """A folder made by `person`."""
        body = {"workspace_id": workspace_id, "name": name, "parent_id": parent}
        answer = await person.http.post("/v1/folders", json=body)
        assert answer.status_code == 201, answer.text
        folder: dict[str, Any] = answer.json()
        return folder

    async def document(self, person: Person, workspace_id: str, content: str = "", **fields: Any) -> dict[str, Any]:
        """A document made by `person`."""
        body = {"workspace_id": workspace_id, "title": "Note", "content": content, **fields}
        answer = await person.http.post("/v1/documents", json=body)
        assert answer.status_code == 201, answer.text
        document: dict[str, Any] = answer.json()
        return document
