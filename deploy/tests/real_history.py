"""The simulator's histories on running services: its devices and invariants, with everything else the real thing."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import psycopg
import zstandard
from deploy.client import invitation_token
from deploy.simulate.documents import sha256
from deploy.simulate.history import Held, History, Outcome
from deploy.simulate.sync import RefusedError
from psycopg.rows import dict_row

from common.identifiers import uuid7
from common.testing.fleet import Fleet
from common.testing.people import People, Person

Json = dict[str, Any]

REST_SECONDS = 30.0
SHARED = 2
HEADS = """
    SELECT d.id::text, d.workspace_id::text, d.title, d.version, d.trashed_at IS NOT NULL AS trashed, d.body_sha256
    FROM documents.document d WHERE d.workspace_id = ANY(%(ids)s::uuid[])"""
TEXTS = """
    SELECT v.document_id::text AS id, v.n, v.body_sha256, b.data FROM documents.version v
    JOIN documents.body b ON b.workspace_id = v.workspace_id AND b.sha256 = v.body_sha256
    WHERE v.workspace_id = ANY(%(ids)s::uuid[]) ORDER BY v.n"""
FOLDERS = """
    SELECT id::text, workspace_id::text, parent_id::text FROM documents.folder
    WHERE workspace_id = ANY(%(ids)s::uuid[]) AND trashed_at IS NULL"""


@dataclass
class Place:
    """Running services as a thread beside their event loop reaches them."""

    fleet: Fleet
    people: People
    environment: Mapping[str, str]
    loop: asyncio.AbstractEventLoop

    def wait(self, work: Awaitable[Any]) -> Any:
        """The result of something that runs in the loop."""
        return asyncio.run_coroutine_threadsafe(_as_coroutine(work), self.loop).result(60)


async def _as_coroutine(work: Awaitable[Any]) -> Any:
    return await work


def words(text: bytes) -> set[bytes]:
    """What a text holds."""
    return set(text.split())


class Documents:
    """What documents and auth-gateway have stored, read from their tables; changed as an owner does it, over HTTP."""

    def __init__(self, place: Place, owner: Person, users: Mapping[str, Person], workspaces: list[str]) -> None:
        self._place = place
        self._owner = owner
        self._users = users
        self._workspaces = workspaces
        self._mails = Path(place.environment["MDC_MAIL_DIR"])
        self._http = httpx.Client(timeout=30)
        self._roles: dict[tuple[str, str], str] = {}
        self.grants: set[str] = set()
        self.outbox: list[Any] = []
        self.lost: list[str] = []

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def call(self, person: Person, method: str, path: str, body: Json | None = None) -> httpx.Response:
        """One request; too many of them are waited out."""
        url, headers = self._place.fleet.url_of(path) + path, {"Authorization": f"Bearer {person.token}"}
        while True:
            answer = self._http.request(method, url, json=body, headers=headers)
            if answer.status_code not in (429, 503) and answer.status_code < 500:
                return answer
            assert answer.status_code in (429, 503), answer.text
            time.sleep(float(answer.headers.get("Retry-After", "0.1")))

    @property
    def documents(self) -> dict[str, Any]:
        """Documents by id, with all their texts."""
        rows, texts = self._read(HEADS), self._read(TEXTS)
        versions: dict[str, list[tuple[int, bytes]]] = {}
        by_hash: dict[str, bytes] = {}
        for row in texts:
            text = by_hash[row["body_sha256"]] = zstandard.decompress(row["data"])
            versions.setdefault(row["id"], []).append((row["n"], text))
        return {
            row["id"]: SimpleNamespace(**row, versions=versions[row["id"]], text=by_hash[row["body_sha256"]])
            for row in rows
        }

    @property
    def folders(self) -> dict[str, Any]:
        """Folders by id."""
        return {row["id"]: SimpleNamespace(**row) for row in self._read(FOLDERS)}

    def _read(self, statement: str) -> list[Json]:
        url = self._place.environment["MDC_ADMIN_DATABASE_URL"]
        with psycopg.connect(url, row_factory=dict_row) as connection:
            return connection.execute(statement, {"ids": self._workspaces}).fetchall()

    def role(self, user: str, workspace_id: str) -> str:
        """Somebody's role, "" for none."""
        return self._roles.get((workspace_id, user), "")

    def may_read(self, user: str, document: Any) -> bool:
        """What documents itself says."""
        return self.call(self._users[user], "GET", f"/v1/documents/{document.id}").status_code == httpx.codes.OK

    def set_member(self, workspace_id: str, user: str, role: str) -> None:
        """Somebody joins by an invitation, gets another role or has to go ("")."""
        before, other = self.role(user, workspace_id), self._users[user]
        member = f"/v1/workspaces/{workspace_id}/members/{user}"
        if role and not before:
            body = {"email": other.email, "role": role}
            invited = self.call(self._owner, "POST", f"/v1/workspaces/{workspace_id}/invitations", body)
            assert invited.status_code == httpx.codes.CREATED, invited.text
            token = self._place.wait(invitation_token(self._mails, other.email))
            answer = self.call(other, "POST", f"/v1/invitations/{token}/accept")
        elif role != before:
            method, body = ("PATCH", {"role": role}) if role else ("DELETE", None)
            answer = self.call(self._owner, method, member, body)
        else:
            return
        assert answer.is_success, answer.text
        self._roles[workspace_id, user] = role

    def restrict(self, document_id: str, users: frozenset[str] | None) -> None:
        """Let only these edit a document, or again everybody who may edit its workspace."""
        grants = {f"user:{user}": "editor" for user in users or ()}
        body = {"restricted": users is not None, "grants": grants}
        answer = self.call(self._owner, "PUT", f"/v1/documents/{document_id}/access", body)
        if answer.is_success and users is not None:
            self.grants.add(document_id)
        elif answer.is_success:
            self.grants.discard(document_id)


class Sync:
    """The service, as one device after the other asks it."""

    def __init__(self, documents: Documents, users: Mapping[str, Person], environment: Mapping[str, str]) -> None:
        self._documents = documents
        self._users = users
        self._environment = environment
        self.sent: dict[str, Json] = {}
        """Every operation with a text that was ever sent."""

    def register(self, user: str, device: str) -> None:
        """Bind a device to its user's session."""
        self.ask(user, "PUT", f"devices/{device}", {"name": "Device", "platform": "linux"})

    def push(self, user: str, device: str, ops: list[Json]) -> list[Json]:
        """Results of operations. Raises `RefusedError`."""
        self.sent |= {op["op_id"]: op for op in ops if "content" in op}
        results: list[Json] = self.ask(user, "POST", "push", {"device_id": device, "ops": ops})["results"]
        return results

    def pull(self, user: str, cursor: str, limit: int) -> Json:
        """One page. Raises `RefusedError`."""
        return self.ask(user, "POST", "pull", {"cursor": cursor, "limit": limit})

    def bootstrap(self, user: str, device: str, page_token: str | None, limit: int) -> Json:
        """One page, in the form of a pull's. Raises `RefusedError`."""
        body = {"device_id": device, "page_token": page_token, "limit": limit}
        page = self.ask(user, "POST", "bootstrap", body)
        return {**page, "changes": page["items"], "cursor": page["cursor"] or page["page_token"],
                "has_more": page["cursor"] is None}  # fmt: skip

    def ask(self, user: str, method: str, what: str, body: Json) -> Json:
        """An answer. Raises `RefusedError`."""
        answer = self._documents.call(self._users[user], method, f"/v1/sync/{what}", body)
        if not answer.is_success:
            raise RefusedError(**{name: value for name, value in answer.json().items() if name != "type"})
        page: Json = answer.json()
        return page

    def forget(self) -> None:
        """Removals are older than the horizon."""
        with psycopg.connect(self._environment["SYNC_OWNER_DATABASE_URL"]) as connection:
            connection.execute("SELECT sync.forget_removals(0)")


class RealHistory(History):
    """A history whose server and bus are running services."""

    def __init__(self, seed: int, steps: int, place: Place) -> None:
        super().__init__(seed, steps)
        owner = place.wait(place.people.person("Owner"))
        self.workspaces = [place.wait(place.people.workspace(owner)) for _ in self.workspaces]
        persons = {user: place.wait(place.people.person(f"User{number}")) for number, user in enumerate(self.users)}
        users = {str(person.id): person for person in persons.values()}
        for device in self.devices:
            device.user = str(persons[device.user].id)
        self.users = list(users)
        self.documents: Any = Documents(place, owner, users, self.workspaces)
        self.sync: Any = Sync(self.documents, users, place.environment)
        for number, user in enumerate(self.users):
            for workspace_id in self.workspaces:
                self.documents.set_member(workspace_id, user, "editor" if number < 2 else "viewer")

    def actions(self) -> list[tuple[Callable[[], None], float]]:
        """Few documents that many edit; the bus delivers by itself, and there is no backup of the server."""
        left_out = (self._create, self._deliver, self._back_up_server, self._restore_server)
        usual = [(verb, weight) for verb, weight in super().actions() if verb not in left_out]
        return [*usual, (self._create, 1), (self._deliver, 2), (self._edit, 8)]

    def run(self) -> Outcome:
        """Play it; at first everybody has the same documents."""
        for _ in range(SHARED):
            self._create()
        for device in self.devices * 2:
            self._push(device, reliable=True)
            self._pull(device, reliable=True)
        return super().run()

    def new_uuid(self) -> Any:
        """One that no other history has: the database is the same."""
        return uuid7()

    def _ask(self, device: Held, limit: int, bootstraps: bool) -> Json:
        meta = device.state.meta
        if not bootstraps:
            return self.sync.pull(device.user, meta["cursor"], limit)
        if meta.get("mode") is None:
            device.state.begin_bootstrap("apply_differences")
        return self.sync.bootstrap(device.user, meta["device_id"], meta.get("page_token"), limit)

    def _mend(self, device: Held, error: RefusedError) -> None:
        if error.problem["code"] in ("device_not_found", "device_not_bound"):
            self.sync.register(device.user, device.state.meta["device_id"])
            return
        super()._mend(device, error)

    def _look(self) -> None:
        """Nor may a word leave a text that nobody who had it before them took out."""
        super()._look()
        found = self.documents.documents.values()
        texts = {sha256(text): words(text) for one in found for _, text in one.versions}
        texts |= {op["content_hash"]: words(op["content"].encode()) for op in self.sync.sent.values()}
        taken_out = {
            word
            for op in self.sync.sent.values()
            for word in texts.get(op.get("base_hash"), set()) - texts[op["content_hash"]]
        }
        for one in found:
            for (_, before), (n, after) in pairwise(one.versions):
                if gone := words(before) - words(after) - taken_out:
                    self._violated(f"version {n} of {one.id[-6:]} lost {sorted(gone)[:3]}, which nobody took out")

    def _check_rights(self, device: Held, page: Json) -> None:
        for change in page["changes"]:
            told = change["kind"] == "upsert" and change["entity"] == "document"
            if told and not self.documents.may_read(device.user, SimpleNamespace(id=change["id"])):
                self._violated(f"{change['id'][-6:]} was told to who may not read it")

    def _deliver(self, *, everything: bool = False) -> None:
        time.sleep(self.random.choice([0.0, 0.0, 0.02, 0.06]))  # the bus does it

    def _come_to_rest(self) -> None:
        self.outcome.trace.append("at rest")
        deadline = time.monotonic() + REST_SECONDS
        while True:
            for device in self.devices:
                self._push(device, reliable=True)
                self._pull(device, reliable=True)
            before = len(self.outcome.violations)
            self._look()
            queued = any(device.state.queue for device in self.devices)
            if time.monotonic() > deadline or (len(self.outcome.violations) == before and not queued):
                return
            del self.outcome.violations[before:]
            time.sleep(0.05)


def play(place: Place, seed: int, steps: int) -> RealHistory:
    """A history, played to its end."""
    history = RealHistory(seed, steps, place)
    try:
        history.run()
    finally:
        history.documents.close()
    return history
