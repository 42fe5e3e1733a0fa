"""The copies of facts to decide by: read through to their owners on a miss, or when known to be too old.

Whoever lowers a right announces the version from which on it counts (`common.auth.Revocations`). Until a copy has that
version its owner is asked; if the owner cannot be asked, the answer is 503: a changed right is never assumed.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from common.access.facts import Projections
from common.auth import Revocations
from common.client import InternalClient
from common.database import Database

NEGATIVE_SECONDS = 1.0
REMEMBERED_USERS = 10_000
ROOTS_AT_ONCE = 100
HIGHEST_ROOT = 64
"""Roots within roots, at most, before the search goes no further."""

Versions = dict[UUID, int]


class AccessProjection:
    """Makes sure that what a service knows about a user's rights is new enough to decide by."""

    def __init__(
        self,
        database: Database,
        client: InternalClient,
        revocations: Revocations,
        schema: str,
        *,
        owns_roots: bool = False,
    ) -> None:
        self._database = database
        self._client = client
        self._revocations = revocations
        self._schema = schema
        self._owns_roots = owns_roots
        self.projections = Projections(schema)
        """Keeps what owners answer; a service that keeps more of it puts its own here."""
        self._asked: dict[UUID, float] = {}
        self._own: dict[UUID, Versions] = {}
        """User -> workspace or group -> version of the membership we are sure to know."""
        self._workspaces: Versions = {}
        self._roots: Versions = {}
        self._settled = 0
        """Announcements about workspaces and roots up to which we know all of them."""

    async def refresh(self, user_id: UUID) -> None:
        """Before deciding: read through whatever concerns this user, was announced and is newer than ours.

        Raises `PeerUnavailableError`: a changed right that cannot be confirmed is denied for now, never assumed.
        """
        told = self._revocations.versions_of(user_id)
        if told and _behind(told, self._own.get(user_id, {})):
            await self._confirm_own(user_id, told)
        if self._settled != (changes := self._revocations.changes):
            behind = await self._confirm_workspaces(user_id)
            if not self._owns_roots:
                behind += await self._confirm_roots(user_id)
            if not behind:
                self._settled = changes

    async def learn(self, user_id: UUID) -> None:
        """After a miss: ask auth-gateway for all this user belongs to, at most once a second. Then look again.

        Again in any case: what somebody else asked for may have come after one looked. It is asked about the user, not
        about what was missed: the time an answer takes tells nobody what exists.
        """
        now = time.monotonic()
        if self._asked.get(user_id, 0.0) > now:
            return
        if len(self._asked) > REMEMBERED_USERS:
            self._asked = {user: until for user, until in self._asked.items() if until > now}
        await self._ask(user_id)
        self._asked[user_id] = time.monotonic() + NEGATIVE_SECONDS

    async def learn_root(self, root_id: UUID, workspace_id: UUID) -> None:
        """After a miss: ask documents for the rules of a root and of those above it. Then look again.

        Raises `PeerUnavailableError`.
        """
        for _ in range(HIGHEST_ROOT):
            if root_id == workspace_id or self._asked.get(root_id, 0.0) > time.monotonic():
                break
            self._asked[root_id] = time.monotonic() + NEGATIVE_SECONDS
            await self._ask_roots([root_id])
            rows = await self._rows(
                "SELECT parent_id FROM {s}.access_root WHERE root_id = %(id)s AND inherits AND NOT removed", id=root_id
            )
            if not rows:
                break
            root_id = rows[0]["parent_id"]

    async def _confirm_own(self, user_id: UUID, told: Mapping[UUID, int]) -> None:
        # Events usually were faster than the question.
        known = await self._rows(
            "SELECT workspace_id AS id, version FROM {s}.access_member WHERE user_id = %(user)s "
            "UNION ALL SELECT group_id, version FROM {s}.access_group_member WHERE user_id = %(user)s",
            user=user_id,
        )
        self._remember(user_id, known)
        if _behind(told, self._own[user_id]):
            await self._ask(user_id)
            # What the owner does not list any more is gone; there is nothing newer to wait for.
            self._remember(user_id, [{"id": id_, "version": version} for id_, version in told.items()])

    def _remember(self, user_id: UUID, facts: Iterable[Mapping[str, Any]]) -> None:
        if len(self._own) > REMEMBERED_USERS:
            self._own.clear()
        _raise(self._own.setdefault(user_id, {}), facts)

    async def _confirm_workspaces(self, user_id: UUID) -> list[UUID]:
        """Confirm those of the user's workspaces; those of others that are still behind."""
        if not _behind(self._revocations.workspaces, self._workspaces):
            return []
        known = await self._rows(
            "SELECT workspace_id AS id, version FROM {s}.access_workspace WHERE workspace_id = ANY(%(ids)s)",
            ids=list(self._revocations.workspaces),
        )
        _raise(self._workspaces, known)
        mine = await self._workspaces_of(user_id)
        if mine.intersection(_behind(self._revocations.workspaces, self._workspaces)):
            told = {id_: version for id_, version in self._revocations.workspaces.items() if id_ in mine}
            await self._ask(user_id)
            _raise(self._workspaces, [{"id": id_, "version": version} for id_, version in told.items()])
        return _behind(self._revocations.workspaces, self._workspaces)

    async def _confirm_roots(self, user_id: UUID) -> list[UUID]:
        """Confirm those in the user's workspaces; those in others that are still behind."""
        missing = _behind(self._revocations.roots, self._roots)
        if not missing:
            return []
        known = await self._rows(
            "SELECT root_id AS id, version, workspace_id FROM {s}.access_root WHERE root_id = ANY(%(ids)s)", ids=missing
        )
        _raise(self._roots, known)
        mine = await self._workspaces_of(user_id)
        # Rights come from where our copy lies, and from where the root has been taken since.
        places = {row["id"]: row["workspace_id"] for row in known}
        missing = _behind(self._revocations.roots, self._roots)
        missing = [root for root in missing if mine & {places.get(root), self._revocations.workspace_of(root)}]
        for start in range(0, len(missing), ROOTS_AT_ONCE):
            await self._ask_roots(missing[start : start + ROOTS_AT_ONCE])
        return _behind(self._revocations.roots, self._roots)

    async def _ask_roots(self, ids: Sequence[UUID]) -> None:
        told = {id_: self._revocations.roots.get(id_, 0) for id_ in ids}
        answer = await self._client.get("documents", "/internal/roots", {"ids": ",".join(map(str, ids))})
        async with self._database.transaction() as transaction:
            await self.projections.keep_roots(transaction, answer["roots"])
        _raise(self._roots, [{"id": id_, "version": version} for id_, version in told.items()])

    async def _ask(self, user_id: UUID) -> None:
        """Keep what auth-gateway answers, and forget what it does not know of any more."""
        before = await self._rows(
            "SELECT workspace_id, version FROM {s}.access_member WHERE user_id = %(user)s AND NOT removed", user=user_id
        )
        facts = await self._client.get("auth-gateway", f"/internal/users/{user_id}/access", acting_user=user_id)
        listed = {UUID(fact["workspace_id"]) for fact in facts["members"]}
        gone = [row for row in before if row["workspace_id"] not in listed]
        async with self._database.transaction() as transaction:
            await self.projections.keep_members(transaction, facts["members"])
            await self.projections.keep_group_members(transaction, facts["group_members"])
            await self.projections.keep_workspaces(transaction, facts["workspaces"])
            if gone:  # unless it was told of again since we looked
                await transaction.execute(
                    f"UPDATE {self._schema}.access_member AS m SET removed = true "
                    "FROM unnest(%(ids)s::uuid[], %(versions)s::bigint[]) AS gone (id, version) "
                    "WHERE m.user_id = %(user)s AND m.workspace_id = gone.id AND m.version = gone.version",
                    {
                        "user": user_id,
                        "ids": [row["workspace_id"] for row in gone],
                        "versions": [row["version"] for row in gone],
                    },
                )

    async def _workspaces_of(self, user_id: UUID) -> set[UUID]:
        rows = await self._rows(
            "SELECT workspace_id FROM {s}.access_member WHERE user_id = %(user)s AND NOT removed", user=user_id
        )
        return {row["workspace_id"] for row in rows}

    async def _rows(self, statement: str, **params: Any) -> list[dict[str, Any]]:
        async with self._database.transaction() as transaction:
            return await transaction.all(statement.format(s=self._schema), params)


def _behind(told: Mapping[UUID, int], known: Mapping[UUID, int]) -> list[UUID]:
    """What was announced at a version we are not sure to know."""
    return [id_ for id_, version in told.items() if known.get(id_, 0) < version]


def _raise(known: Versions, facts: Iterable[Mapping[str, Any]]) -> None:
    for fact in facts:
        known[fact["id"]] = max(known.get(fact["id"], 0), fact["version"])
