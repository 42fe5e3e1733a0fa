"""Random trees, rules, moves, copies, members: pure decision, row-level security, lists and other copies agree.

Each history runs the real verbs in one transaction that is never committed. A model beside it holds what was done; each
answer of PostgreSQL is compared with `common.access.role_at` on it. `make test` runs some, `make test-slow` 400,
or `HISTORIES`.
"""

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.rows import dict_row

from common.access import Action, Membership, Projections, Role, Root, allows, role_at
from common.auth import Principal
from common.errors import ServiceError
from common.objects import FolderStore
from common.revocations import Announcer
from documents.repository import BranchRepository, DocumentRepository, RootRepository, TreeRepository
from documents.schemas import DocumentCreate, FolderCreate, FolderUpdate
from documents.service import AccessService, BranchService, DocumentService, FolderService, Placer
from documents.storage import BodyStore

PEOPLE, GROUPS = 4, 2
ROLES = tuple(role.value for role in Role)
GRANTED = tuple(role for role in ROLES if role != "guest")

who, node, group = st.sampled_from((0, 0, 0, 1, 1, 2, 3)), st.integers(0, 11), st.integers(0, GROUPS - 1)
old_folder = st.sampled_from((0, 2, 4, 6))
principal = st.one_of(st.tuples(st.just("user"), who), st.tuples(st.just("group"), group))
steps = st.one_of(
    st.tuples(st.just("folder"), who, node),
    st.tuples(st.just("document"), who, node, st.booleans()),
    st.tuples(st.just("move"), who, node, node),
    st.tuples(st.just("move"), who, node, node),
    st.tuples(st.just("restrict"), who, node, st.booleans()),
    st.tuples(st.just("restrict"), who, node, st.booleans()),
    st.tuples(st.just("grant"), who, node, principal, st.sampled_from(GRANTED)),
    st.tuples(st.just("grant"), who, node, principal, st.sampled_from(GRANTED)),
    st.tuples(st.just("revoke"), who, node, principal),
    st.tuples(st.just("clear"), who, node),
    st.tuples(st.just("trash"), who, node),
    st.tuples(st.just("restore"), who, node),
    st.tuples(st.just("take"), who, node, node),
    st.tuples(st.just("take"), who, old_folder, node),
    st.tuples(st.just("take"), who, old_folder, node),
    st.tuples(st.just("copy"), who, node, node),
    st.tuples(st.just("copy"), who, old_folder, node),
    st.tuples(st.just("member"), who, st.integers(0, 1), st.sampled_from((*ROLES, None))),
    st.tuples(st.just("group"), who, group, st.booleans()),
)


@dataclass
class Node:
    """What the model knows of a folder or document."""

    id: UUID
    kind: str
    parent: "Node | None"
    workspace: UUID
    maker: int
    inherits: bool = True
    grants: dict[str, str] = field(default_factory=dict)

    @property
    def ruled(self) -> bool:
        return not self.inherits or bool(self.grants)


class Bound:
    """A transaction of the service's own kind on a connection that plays several roles and never commits."""

    def __init__(self, connection: psycopg.AsyncConnection[dict[str, Any]]) -> None:
        self._connection = connection
        self.after_commit: list[Any] = []

    def will_tell(self) -> None:
        """Nobody is told."""

    async def execute(self, statement: str, params: Any = None) -> Any:
        return await self._connection.execute(statement, params)

    async def all(self, statement: str, params: Any = None) -> list[dict[str, Any]]:
        return await (await self.execute(statement, params)).fetchall()

    single = all  # noqa: A003

    async def together(self, calls: Any) -> list[list[dict[str, Any]]]:
        return [await self.all(*call) for call in calls]

    async def one(self, statement: str, params: Any = None) -> dict[str, Any] | None:
        return await (await self.execute(statement, params)).fetchone()

    async def release(self) -> None:
        """Reads so far stay: there is but one transaction."""


class NobodyElse:
    """A projection there is nothing to learn for."""

    async def learn(self, _user_id: UUID) -> bool:
        return False


class History:
    """People, groups, two workspaces, and what they do in them."""

    def __init__(self, connection: psycopg.AsyncConnection[dict[str, Any]], bodies: BodyStore) -> None:
        self.connection = connection
        self.workspace, self.other = uuid4(), uuid4()
        self.people = [uuid4() for _ in range(PEOPLE)]
        self.groups = [uuid4() for _ in range(GROUPS)]
        self.roles: dict[UUID, list[str | None]] = {
            self.workspace: ["owner", "editor", "viewer", "guest"], self.other: ["admin", "owner", None, "editor"],
        }  # fmt: skip
        self.teams: list[set[int]] = [set() for _ in range(GROUPS)]
        self.nodes: list[Node] = []
        self._bodies = bodies
        self._version = 0
        self._transaction: Any = Bound(connection)

    async def begin(self) -> None:
        for number in range(PEOPLE):
            for workspace in self.roles:
                await self.keep_member(number, workspace)
        await self.as_role("documents_worker")
        for id_ in self.groups:
            await self.connection.execute(
                "INSERT INTO documents.access_group VALUES (%s, %s, 'Team', false, 1)", (id_, self.workspace)
            )
        for above in (None, 0, 1, 0):  # a tree to begin with: each folder with a document in it
            parent = None if above is None else self.nodes[2 * above]
            for kind, rest in (("folder", [parent]), ("document", [parent, False])):
                await self.begin_with(0, kind, rest)
        await self.begin_with(1, "document", [self.nodes[2], True])  # what the others know nothing of

    async def begin_with(self, number: int, kind: str, rest: list[Any]) -> None:
        await self.as_role("documents", number)
        (await getattr(self, f"_{kind}")(self.services(number), number, rest[0], rest))()

    async def as_role(self, role: str, person: int | None = None) -> None:
        await self.connection.execute(f"SET LOCAL ROLE {role}")
        user = str(self.people[person]) if person is not None else ""
        await self.connection.execute("SELECT set_config('app.user_id', %s, true)", (user,))

    async def keep_member(self, number: int, workspace: UUID) -> None:
        self._version += 1
        role = self.roles[workspace][number]
        fact = {
            "user_id": self.people[number], "workspace_id": workspace, "role": role or "viewer",
            "removed": role is None, "version": self._version,
        }  # fmt: skip
        for schema in ("documents", "collab"):
            await self.as_role(f"{schema}_worker")
            await Projections(schema).keep_members(self._transaction, [fact])

    async def keep_in_group(self, number: int, team: int, *, removed: bool) -> None:
        self._version += 1
        (self.teams[team].discard if removed else self.teams[team].add)(number)
        fact = {
            "user_id": self.people[number], "group_id": self.groups[team], "workspace_id": self.workspace,
            "removed": removed, "version": self._version,
        }  # fmt: skip
        for schema in ("documents", "collab"):
            await self.as_role(f"{schema}_worker")
            await Projections(schema).keep_group_members(self._transaction, [fact])

    # The model

    def memberships(self, number: int) -> dict[UUID, Membership]:
        teams = [id_ for id_, team in zip(self.groups, self.teams, strict=True) if number in team]
        return {
            workspace: Membership(role, teams if workspace == self.workspace else [])
            for workspace, roles in self.roles.items() if (role := roles[number])
        }  # fmt: skip

    def root_of(self, node: Node | None, workspace: UUID) -> UUID:
        while node and not node.ruled:
            node = node.parent
        return node.id if node else workspace

    def roots(self) -> dict[UUID, Root]:
        return {
            node.id: Root(
                node.id, node.workspace, self.root_of(node.parent, node.workspace), node.inherits,
                {UUID(key.split(":")[1]): role for key, role in node.grants.items()},
            )
            for node in self.nodes if node.ruled
        }  # fmt: skip

    def role(self, number: int, node: Node | None, workspace: UUID | None = None) -> str | None:
        """At a node, or at the top of a workspace."""
        root = self.root_of(node, node.workspace if node else workspace or self.workspace)
        return role_at(root, self.people[number], self.memberships(number), self.roots())

    # The steps

    async def take(self, step: tuple[Any, ...]) -> None:
        kind, number, *rest = step
        if kind == "member":
            workspace = (self.workspace, self.other)[rest[0]]
            self.roles[workspace][number] = rest[1]
            await self.keep_member(number, workspace)
        elif kind == "group":
            await self.keep_in_group(number, rest[0], removed=rest[1])
        else:
            await self.act(kind, number, rest)

    async def act(self, kind: str, number: int, rest: list[Any]) -> None:
        """A verb of the service; what is refused changes nothing, what is allowed needs the right for it."""
        target = self.nodes[rest[0] % len(self.nodes)]
        await self.as_role("documents", number)
        try:
            async with self.connection.transaction():
                done = await getattr(self, f"_{kind}")(self.services(number), number, target, rest)
        except ServiceError:
            return
        done()

    def services(self, number: int) -> tuple[DocumentService, FolderService, dict[str, AccessService], BranchService]:
        user = Principal(self.people[number], uuid4(), 0)
        nobody: Any = NobodyElse()
        announcer: Any = Announcer("documents", None, None)  # type: ignore[arg-type] - what waits for a commit is not run
        documents = DocumentRepository(self._transaction, user)
        tree, roots = TreeRepository(self._transaction, user), RootRepository(self._transaction, user)
        placer = Placer(documents, tree, roots, announcer, user)
        rules = {
            kind: AccessService(kind, documents, tree, roots, placer, announcer, nobody, user)
            for kind in ("document", "folder")
        }
        of_documents = DocumentService(documents, self._bodies, placer, rules["document"], nobody, user)
        of_folders = FolderService(tree, documents, placer, rules["folder"], nobody, user)
        branches = BranchRepository(self._transaction, user)
        whole = BranchService(branches, roots, of_documents, of_folders, placer, self._bodies, announcer, user)
        return of_documents, of_folders, rules, whole

    def require(self, number: int, node: Node | None, action: Action, workspace: UUID | None = None) -> None:
        role = self.role(number, node, workspace)
        assert allows(role, action), f"{action} was allowed to {role}"

    def may_rule(self, number: int, node: Node) -> None:
        """Managers, owners of the workspace, and whoever made a document that has no rules of its own."""
        role = self.role(number, node)
        made = node.kind == "document" and node.maker == number and not node.ruled and allows(role, Action.EDIT)
        assert made or allows(role, Action.MANAGE) or self.roles[node.workspace][number] == "owner"

    async def _folder(self, services: Any, number: int, target: Node | None, _rest: Any) -> Any:
        parent = target if target and target.kind == "folder" else None
        place = parent.workspace if parent else self.workspace
        body = FolderCreate(workspace_id=place, name="F", parent_id=parent and parent.id)
        row = await services[1].create(body, _claim)

        def done() -> None:
            self.require(number, parent, Action.EDIT)
            self.nodes.append(Node(row["id"], "folder", parent, place, number))

        return done

    async def _document(self, services: Any, number: int, target: Node | None, rest: Any) -> Any:
        parent = target if target and target.kind == "folder" else None
        place = parent.workspace if parent else self.workspace
        body = DocumentCreate(workspace_id=place, title="D", folder_id=parent and parent.id, restricted=rest[1])
        row = await services[0].create(body, _claim)

        def done() -> None:
            self.require(number, parent, Action.EDIT)
            made = Node(row["id"], "document", parent, place, number)
            if rest[1]:
                made.inherits, made.grants = False, {f"user:{self.people[number]}": "owner"}
            self.nodes.append(made)

        return done

    async def _move(self, services: Any, number: int, target: Node, rest: Any) -> Any:
        place = self.nodes[rest[1] % len(self.nodes)]
        parent = place if place.kind == "folder" else None
        if target.kind == "document":
            await services[0].move(target.id, parent and parent.id, None, base=None)
        else:
            head = await services[1].get(target.id)
            await services[1].update(target.id, FolderUpdate(parent_id=parent and parent.id), base=head["version"])

        def done() -> None:
            self.require(number, target, Action.EDIT)
            if parent is not target.parent:
                self.require(number, parent, Action.EDIT, target.workspace)
            target.parent = parent

        return done

    def branch(self, target: Node, number: int) -> tuple[list[Node], list[Node]]:
        """What somebody sees of a branch, and what lies in that unseen; parents first."""
        seen, unseen = [target], []
        for node in seen:
            inside = [other for other in self.nodes if other.parent is node]
            seen += [other for other in inside if self.role(number, other)]
            unseen += [other for other in inside if not self.role(number, other)]
        return seen, unseen

    async def _take(self, services: Any, number: int, target: Node, rest: Any) -> Any:
        """To the other workspace."""
        place = self.nodes[rest[1] % len(self.nodes)]
        workspace = self.other if target.workspace == self.workspace else self.workspace
        parent = place if place.kind == "folder" and place.workspace == workspace else None
        take = services[3].move_document if target.kind == "document" else services[3].move_folder
        await take(target.id, workspace, parent and parent.id, None, base=None)

        def done() -> None:
            self.require(number, parent, Action.EDIT, workspace)
            seen, unseen = self.branch(target, number)
            made = target.kind == "document" and target.maker == number and not target.ruled
            assert (made and allows(self.role(number, target), Action.EDIT)) or all(
                allows(self.role(number, node), Action.MANAGE) for node in seen
            )
            target.parent = parent
            for node in unseen:
                node.parent = None
            for node in seen:
                node.workspace = workspace
                node.grants = {} if node.inherits else {f"user:{self.people[number]}": "owner"}

        return done

    async def _copy(self, services: Any, number: int, target: Node, rest: Any) -> Any:
        place = self.nodes[rest[1] % len(self.nodes)]
        parent = place if place.kind == "folder" and place.workspace == target.workspace else None
        seen, _unseen = self.branch(target, number)
        copy = services[3].duplicate_document if target.kind == "document" else services[3].duplicate_folder
        await copy(target.id, {"place": parent and parent.id}, _claim)
        await self.connection.execute("SET LOCAL ROLE NONE")
        rows = await self._transaction.all(
            "WITH RECURSIVE below AS (SELECT f.id, f.parent_id, 'folder' AS kind, f.access_root_id, 0 AS depth "
            "FROM documents.folder f WHERE f.workspace_id = %(workspace)s AND f.id <> ALL(%(known)s) "
            "AND (f.parent_id IS NULL OR f.parent_id = ANY(%(known)s)) UNION ALL "
            "SELECT f.id, f.parent_id, 'folder', f.access_root_id, below.depth + 1 "
            "FROM documents.folder f JOIN below ON f.parent_id = below.id) SELECT * FROM below "
            "UNION ALL SELECT d.id, d.folder_id, 'document', d.access_root_id, 99 FROM documents.document d "
            "WHERE d.id <> ALL(%(known)s) AND d.workspace_id = %(workspace)s ORDER BY depth",
            {"known": [node.id for node in self.nodes], "workspace": target.workspace},
        )

        def done() -> None:
            self.require(number, target, Action.READ)
            self.require(number, parent, Action.EDIT, target.workspace)
            assert 0 < len(rows) <= len(seen)
            mine = {f"user:{self.people[number]}": "owner"}
            for row in rows:
                above = next((node for node in self.nodes if node.id == row["parent_id"]), None)
                closed = row["access_root_id"] == row["id"]
                made = Node(row["id"], row["kind"], above, target.workspace, number, not closed, mine if closed else {})
                self.nodes.append(made)
            assert sum(not node.inherits for node in self.nodes[-len(rows) :]) <= sum(not one.inherits for one in seen)
            assert self.nodes[-len(rows)].inherits is target.inherits, "the copy of what is restricted is restricted"

        return done

    async def _rules(self, services: Any, number: int, target: Node) -> Any:
        """Take over into the model what the rules are now, which must be what was meant."""
        await self.as_role("documents_worker")
        row = await RootRepository(self._transaction, None).find(target.id)
        await self.as_role("documents", number)
        return row

    async def _restrict(self, services: Any, number: int, target: Node, rest: Any) -> Any:
        return await self._ruled(services, number, target, services[2][target.kind].put(
            target.id, rest[1], None, base=None
        ), inherits=not rest[1])  # fmt: skip

    async def _grant(self, services: Any, number: int, target: Node, rest: Any) -> Any:
        key = self.key(rest[1])
        return await self._ruled(
            services, number, target, services[2][target.kind].grant(target.id, key, rest[2]), given={key: rest[2]}
        )

    async def _revoke(self, services: Any, number: int, target: Node, rest: Any) -> Any:
        key = self.key(rest[1])
        return await self._ruled(
            services, number, target, services[2][target.kind].revoke(target.id, key), given={key: None}
        )

    async def _clear(self, services: Any, number: int, target: Node, _rest: Any) -> Any:
        return await self._ruled(
            services, number, target, services[2][target.kind].clear(target.id), inherits=True, given=None
        )

    async def _ruled(
        self, services: Any, number: int, target: Node, work: Any, *, inherits: bool | None = None, given: Any = ()
    ) -> Any:
        await work
        row = await self._rules(services, number, target)

        def done() -> None:
            self.may_rule(number, target)
            wanted = {} if given is None else {**target.grants, **dict(given or {})}
            wanted = {key: role for key, role in wanted.items() if role}
            closed = target.inherits if inherits is None else inherits
            found = (row["inherits"], row["grants"]) if row else (True, {})
            mine = f"user:{self.people[number]}"
            assert found in ((closed, wanted), (closed, {mine: "owner", **wanted}))
            target.inherits, target.grants = found[0], dict(found[1])

        return done

    async def _trash(self, services: Any, number: int, target: Node, _rest: Any) -> Any:
        await services[0 if target.kind == "document" else 1].trash(target.id, base=None)
        return lambda: self.require(number, target, Action.DELETE)

    async def _restore(self, services: Any, number: int, target: Node, _rest: Any) -> Any:
        """Wherever it comes back to, everybody has the role they had."""
        row = await services[0 if target.kind == "document" else 1].restore(target.id, base=None)
        parent = row["folder_id"] if target.kind == "document" else row["parent_id"]
        rules = await self._rules(services, number, target)

        def done() -> None:
            self.require(number, target, Action.DELETE)
            before = [self.role(one, target) for one in range(len(self.people))]
            moved = target.parent is not None and target.parent.id != parent
            target.parent = next((node for node in self.nodes if node.id == parent), None)
            if moved and rules:
                target.inherits, target.grants = rules["inherits"], dict(rules["grants"])
            assert [self.role(one, target) for one in range(len(self.people))] == before

        return done

    def key(self, chosen: tuple[str, int]) -> str:
        kind, number = chosen
        return f"{kind}:{(self.people if kind == 'user' else self.groups)[number]}"

    # What PostgreSQL says

    async def check_places(self) -> None:
        """Where everything lies, whoever sees it; roots live where there are rules, or where they say nothing."""
        await self.connection.execute("SET LOCAL ROLE NONE")
        rows = await self._transaction.all(
            "WITH node AS (SELECT id, workspace_id, parent_id, access_root_id FROM documents.folder UNION ALL "
            "SELECT id, workspace_id, folder_id, access_root_id FROM documents.document) "
            "SELECT n.id, n.workspace_id, n.parent_id, r.root_id IS NOT NULL AS rooted, n.access_root_id = n.id AS own "
            "FROM node n LEFT JOIN documents.access_root r ON r.root_id = n.id AND NOT r.removed "
            "WHERE n.id = ANY(%(ids)s)",
            {"ids": [node.id for node in self.nodes]},
        )
        found = {row["id"]: (row["workspace_id"], row["parent_id"]) for row in rows}
        assert found == {node.id: (node.workspace, node.parent and node.parent.id) for node in self.nodes}
        assert all(row["own"] == row["rooted"] for row in rows), "a root without rules in force, or the other way round"
        assert {row["id"] for row in rows if row["own"]} >= self.roots().keys()

    async def check(self) -> None:
        await self.check_places()
        await self.as_role("documents_worker")
        facts = await RootRepository(self._transaction, None).facts([node.id for node in self.nodes])
        told = [{**fact, "grants": dict(fact["grants"])} for fact in facts]
        await self.as_role("collab_worker")
        await Projections("collab").keep_roots(self._transaction, told)
        for number in range(PEOPLE):
            expected = {node.id: role for node in self.nodes if (role := self.role(number, node))}
            await self.as_role("documents", number)
            assert await self.visible(number) == expected.keys(), "row-level security"
            assert await self.listed(number) == expected, "lists"
            assert await self.named() == expected, "my_role()"
            await self.as_role("collab", number)
            assert await self.copied() == self.at_roots(number), "another service's copy"

    async def visible(self, _number: int) -> set[UUID]:
        rows = await self._transaction.all(
            "SELECT id FROM documents.document UNION ALL SELECT id FROM documents.folder"
        )
        return {row["id"] for row in rows}

    async def listed(self, number: int) -> dict[UUID, str]:
        user = Principal(self.people[number], uuid4(), 0)
        documents, tree = DocumentRepository(self._transaction, user), TreeRepository(self._transaction, user)
        rows = []
        for workspace, trashed in product(self.roles, (False, True)):
            rows += await documents.list_in(
                workspace, sort="-updated_at", after=None, filters={"trashed": trashed}, limit=1000
            )
            rows += await tree.list_in(workspace, filters={"trashed": trashed}, after=None, limit=1000)
        return {row["id"]: row["role"] for row in rows}

    async def named(self) -> dict[UUID, str]:
        rows = await self._transaction.all(
            "SELECT id, documents.my_role(access_root_id) AS role FROM documents.document "
            "UNION ALL SELECT id, documents.my_role(access_root_id) FROM documents.folder"
        )
        return {row["id"]: row["role"] for row in rows}

    def at_roots(self, number: int) -> dict[UUID, str]:
        found = {id_: role_at(id_, self.people[number], self.memberships(number), self.roots())
                 for id_ in (*self.roles, *self.roots())}  # fmt: skip
        return {id_: role for id_, role in found.items() if role}

    async def copied(self) -> dict[UUID, str]:
        """Roots with rules; a root whose rules are empty means the same as the one above, and may stay."""
        rows = await self._transaction.all(
            "SELECT a.* FROM unnest(%(ids)s::uuid[]) AS w, collab.my_access(w) AS a", {"ids": list(self.roles)}
        )
        ruled = {*self.roles, *self.roots()}
        [mine] = await self._transaction.all("SELECT collab.my_roots() AS ids")
        assert set(mine["ids"]) == {row["root_id"] for row in rows}
        return {row["root_id"]: row["role"] for row in rows if row["root_id"] in ruled}


async def _claim() -> None:
    """No Idempotency-Key."""


@pytest.fixture
async def connection(environment: dict[str, str]) -> AsyncIterator[psycopg.AsyncConnection[dict[str, Any]]]:
    url = environment["MDC_ADMIN_DATABASE_URL"]
    async with await psycopg.AsyncConnection.connect(url, row_factory=dict_row, prepare_threshold=2) as opened:
        yield opened
        await opened.rollback()


async def play(connection: psycopg.AsyncConnection[dict[str, Any]], folder: Any, taken: list[Any]) -> None:
    await connection.rollback()
    await connection.execute("SELECT 1")
    history = History(connection, BodyStore(FolderStore(folder), inline_below=16_384, limit=1_000_000))
    await history.begin()
    for number, step in enumerate(taken):
        await history.take(step)
        if number % 6 == 0:
            await history.check()
    await history.check()


def property_of(examples: int) -> Any:
    return settings(
        max_examples=examples, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )


@property_of(60)
@given(taken=st.lists(steps, min_size=8, max_size=30))
async def test_all_answers_agree_on_some_histories(connection, tmp_path, taken) -> None:
    await play(connection, tmp_path, taken)


@pytest.mark.slow
@pytest.mark.timeout(1500)
@property_of(int(os.environ.get("HISTORIES", "400")))
@given(taken=st.lists(steps, min_size=8, max_size=24))
async def test_all_answers_agree_on_many_histories(connection, tmp_path, taken) -> None:
    await play(connection, tmp_path, taken)
