"""The verbs of access: who may do what with a folder or document, where a right comes from, who asks for one."""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

from common import pagination
from common.access import AccessProjection, Action, Role, allows, at_least
from common.auth import Principal
from common.contracts.documents import AccessRequestCreated, AccessRequestDecided
from common.database import Row
from common.errors import PreconditionFailedError
from common.identifiers import uuid7
from common.revocations import Announcer

from ..errors import (
    AccessNotTakenError,
    AccessRequestNotFoundError,
    ActionForbiddenError,
    GrantNotFoundError,
    HasAccessError,
    LastPathError,
    NodeNotFoundError,
    PrincipalUnknownError,
    TooManyGrantsError,
)
from ..repository import DocumentRepository, RootRepository, TreeRepository
from .checks import check_unmoved
from .placing import Placer, Rules

MAX_GRANTS = 500
"""At one folder or document; beyond that, groups are meant for it."""
MAX_MET = 20
"""Principals asked about in one request because they were unknown."""


Change = Callable[[Rules], Rules]


class AccessService:
    """Access rules of folders or documents (`kind`) on behalf of one caller in one request."""

    def __init__(
        self,
        kind: str,
        documents: DocumentRepository,
        tree: TreeRepository,
        roots: RootRepository,
        placer: Placer,
        announcer: Announcer,
        access: AccessProjection,
        principal: Principal,
    ) -> None:
        self._kind = kind
        self._documents = documents
        self._tree = tree
        self._roots = roots
        self._placer = placer
        self._announcer = announcer
        self._access = access
        self._principal = principal

    @property
    def _me(self) -> str:
        return f"user:{self._principal.user_id}"

    async def refuse_if_held(self, node_id: UUID) -> None:
        """Tell an owner of its workspace, who may know of everything there, that access must be taken first.

        Raises `AccessNotTakenError`.
        """
        held = await self._roots.held(node_id)
        if held and held["kind"] == self._kind:
            raise AccessNotTakenError

    async def describe(self, node_id: UUID) -> dict[str, Any]:
        """Rules, everybody they let in, and where each right comes from.

        Whoever may not edit is shown only what concerns them; whoever may not manage, nothing of folders that are not
        theirs to know. Raises `NodeNotFoundError`.
        """
        node = await self._managed(node_id, Action.READ)
        line = await self._roots.lineage(node["access_root_id"])
        own = line[0] if line and line[0]["root_id"] == node_id else None
        grants = [
            {"principal": principal, "role": role, "from": {"kind": root["kind"], "id": root["root_id"]}}
            for root in line
            for principal, role in sorted(root["grants"].items())
        ]
        names = await self._names(node["workspace_id"], [grant["principal"] for grant in grants])
        if not allows(node["role"], Action.MANAGE):
            known = {root["root_id"] for root in line if root["role"]}
            grants = [grant for grant in grants if grant["from"]["id"] in known]
        if not allows(node["role"], Action.EDIT):
            mine = await self._mine(node["workspace_id"])
            grants = [grant for grant in grants if grant["principal"] in mine]
        return {
            "id": node_id,
            "kind": self._kind,
            "version": own["version"] if own else 0,
            "restricted": bool(own and not own["inherits"]),
            "workspace_members": not line or line[-1]["inherits"],
            "role": node["role"],
            "grants": [
                {**grant, "name": names.get(grant["principal"]), "inherited": grant["from"]["id"] != node_id}
                for grant in grants
            ],
        }

    async def put(
        self, node_id: UUID, restricted: bool | None, grants: Mapping[str, str] | None, *, base: int | None
    ) -> None:
        """Set the rules whole; what is None stays. See `_change` for errors."""

        def change(rules: Rules) -> Rules:
            if base is not None and base != rules.version:
                raise PreconditionFailedError(version=rules.version)
            inherits = rules.inherits if restricted is None else not restricted
            return replace(rules, inherits=inherits, grants=rules.grants if grants is None else dict(grants))

        await self._change(node_id, change, grants or ())

    async def clear(self, node_id: UUID) -> None:
        """Take back all rules of its own: what is above counts again."""
        await self._change(node_id, lambda _rules: Rules())

    async def grant(self, node_id: UUID, principal: str, role: str) -> None:
        """Give somebody a role here and below. See `_change` for errors."""
        await self._change(node_id, lambda rules: replace(rules, grants={**rules.grants, principal: role}), [principal])

    async def revoke(self, node_id: UUID, principal: str) -> None:
        """Take a grant back. Raises `GrantNotFoundError`, and see `_change`."""

        def change(rules: Rules) -> Rules:
            if principal not in rules.grants:
                raise GrantNotFoundError
            return replace(rules, grants={key: role for key, role in rules.grants.items() if key != principal})

        await self._change(node_id, change)

    async def ask(self, node_id: UUID, role: str, message: str) -> None:
        """Ask for a role. The answer tells nobody whether there is such a thing, unless they may see it already.

        Raises `HasAccessError`.
        """
        seen = await self._find(node_id)
        if seen and at_least(seen["role"], role):
            raise HasAccessError
        node = seen or await self._roots.asked_for(node_id, self._kind)
        if node is None:
            return
        request = {
            "id": uuid7(), "workspace_id": node["workspace_id"], "node_id": node_id,
            "user_id": self._principal.user_id, "role": role, "message": message,
        }  # fmt: skip
        if await self._roots.ask(request):
            event = AccessRequestCreated(
                request_id=request["id"], workspace_id=node["workspace_id"], node_id=node_id,
                user_id=self._principal.user_id, role=role,
            )  # fmt: skip
            await self._roots.record(event, request["id"], 1)

    async def list_requests(self, node_id: UUID, cursor: str | None, limit: int) -> tuple[list[Row], str | None]:
        """A page of open requests, oldest first. Raises `NodeNotFoundError`, `ActionForbiddenError`."""
        await self._managed(node_id, Action.MANAGE)
        after = pagination.decode(cursor, UUID)[0] if cursor else None
        return pagination.page(await self._roots.requests_for(node_id, after, limit), limit, "id")

    async def decide(self, node_id: UUID, request_id: UUID, *, role: str | None, approved: bool) -> None:
        """Approve a request (with the role asked for, or another), or dismiss it.

        Raises `AccessRequestNotFoundError`, and what `grant` raises.
        """
        asked = await self._roots.request(request_id, node_id)
        await self._managed(node_id, Action.MANAGE)
        if asked is None:
            raise AccessRequestNotFoundError
        role = role or asked["role"]
        if approved:
            await self.grant(node_id, f"user:{asked['user_id']}", role)
        found = await self._roots.decide(request_id, node_id, self._principal.user_id, approved=approved)
        if found is None:  # somebody else was faster
            raise AccessRequestNotFoundError
        event = AccessRequestDecided(
            request_id=request_id, workspace_id=found["workspace_id"], node_id=node_id, user_id=found["user_id"],
            role=role, approved=approved,
        )  # fmt: skip
        await self._roots.record(event, request_id, 2)

    async def _change(self, node_id: UUID, change: Change, principals: Collection[str] = ()) -> None:
        """Change the rules of a folder or document, with all that lies under them, in one transaction.

        Raises `NodeNotFoundError`, `ActionForbiddenError`, `PrincipalUnknownError`, `LastPathError`,
        `AccessNotTakenError`, `TooManyGrantsError`.
        """
        seen = await self._managed(node_id, Action.MANAGE)
        await self._meet(seen["workspace_id"], principals)
        await self._tree.lock(seen["workspace_id"])
        node = check_unmoved(await self._managed(node_id, Action.MANAGE, question=self._find_for_update), seen)
        root = await self._roots.find(node_id) if node["access_root_id"] == node_id else None
        before = Rules(root["inherits"], root["grants"], root["version"]) if root else Rules()
        after = self._keep_a_way_in(node, before, change(before))
        if (before.inherits, before.grants) == (after.inherits, after.grants):
            return
        await self._check(node, before, after)
        await self._write(node, root, before, after)

    async def _meet(self, workspace_id: UUID, principals: Collection[str]) -> None:
        """Somebody may have joined so lately that no event has told of it: read through, before anything is locked."""
        unknown = sorted(set(principals) - (await self._names(workspace_id, principals)).keys())
        users, _groups = _ids(unknown)
        if users:
            await self._tree.transaction.release()
            for user_id in users[:MAX_MET]:
                await self._access.learn(user_id)

    def _keep_a_way_in(self, node: Row, before: Rules, after: Rules) -> Rules:
        """Whoever makes the rules is not shut out by them."""
        first = before.empty and not after.empty and node["outside"] is False
        if (first and node["made_it"]) or (before.inherits and not after.inherits and not node["outside"]):
            return replace(after, grants={self._me: Role.OWNER.value, **after.grants})
        return after

    async def _check(self, node: Row, before: Rules, after: Rules) -> None:
        if len(after.grants) > MAX_GRANTS:
            raise TooManyGrantsError(f"{len(after.grants)} grants, the limit is {MAX_GRANTS}; make groups")
        changed = {
            key for key in before.grants.keys() | after.grants.keys() if before.grants.get(key) != after.grants.get(key)
        }
        owners = [key for key in changed if Role.OWNER in (before.grants.get(key), after.grants.get(key))]
        if not allows(node["role"], Action.OWN) and set(owners) - {self._me if before.empty else ""}:
            raise ActionForbiddenError("only owners make and unmake owners")
        new = [key for key in changed if key in after.grants]
        known = await self._names(node["workspace_id"], new)
        if unknown := sorted(set(new) - known.keys()):
            raise PrincipalUnknownError(
                "neither members, guests nor groups of this workspace: " + ", ".join(unknown[:20]), principals=unknown
            )
        if not after.inherits:
            managers = [key for key, role in after.grants.items() if allows(role, Action.MANAGE)]
            users, groups = _ids(managers)
            if not await self._roots.reaches_somebody(node["workspace_id"], users, groups):
                raise LastPathError

    async def _write(self, node: Row, root: Row | None, before: Rules, after: Rules) -> None:
        if root is None and node["outside"]:
            raise AccessNotTakenError(f"its rules are those of {node['access_root_id']}: take access there")
        # Who may not read here, or what is above, cannot move anything: empty rules stay in place, and mean the same.
        above = root["parent_id"] if root else node["access_root_id"]
        gone = after.empty and not node["outside"] and await self._documents.role_at(above) is not None
        kept = {
            "root_id": node["id"], "workspace_id": node["workspace_id"], "kind": self._kind,
            "parent_id": above, "inherits": after.inherits,
            "removed": gone,
        }  # fmt: skip
        if gone:
            await self._placer.reroot(node, kept["parent_id"], lowers=False)
        version = await self._roots.keep(kept, after.grants)
        if root is None:
            await self._placer.reroot(node, node["id"], lowers=not after.inherits)
        await self._roots.tell([node["id"]], _described(before, after))
        await self._announcer.roots_changed(self._tree.transaction, node["workspace_id"], {node["id"]: version})

    async def _managed(
        self, node_id: UUID, action: Action, *, question: Callable[[UUID], Awaitable[Row | None]] | None = None
    ) -> Row:
        """The folder or document with the role that counts for its rules.

        Owners of the workspace hold `manage` everywhere, also where they may not read (`outside`); whoever made a
        document that has no rules of its own yet, and may edit it, may give it some (`made_it`).
        """
        ask = question or self._find
        node = await ask(node_id)
        if node is None or not allows(node["role"], Action.OWN):
            held = await self._roots.held(node_id)
            if held and held["kind"] == self._kind:
                return {**held, **(node or {}), "role": "owner", "outside": node is None, "made_it": False}
        if node is None and question is None:
            await self._tree.transaction.release()
            await self._access.learn(self._principal.user_id)
            node = await ask(node_id)
        if node is None:
            raise NodeNotFoundError
        may_edit, may_manage = (allows(node["role"], wanted) for wanted in (Action.EDIT, Action.MANAGE))
        made_it = node.get("made_it", False) and may_edit and not may_manage
        if not made_it and not allows(node["role"], action):
            raise ActionForbiddenError
        return {**node, "outside": False, "made_it": made_it}

    async def _find(self, node_id: UUID) -> Row | None:
        found = await (self._documents if self._kind == "document" else self._tree).find(node_id)
        return found and {**found, "kind": self._kind}

    async def _find_for_update(self, node_id: UUID) -> Row | None:
        found = await (self._documents if self._kind == "document" else self._tree).find_for_update(node_id)
        return found and {**found, "kind": self._kind}

    async def _names(self, workspace_id: UUID, principals: Collection[str]) -> dict[str, str]:
        if not principals:
            return {}
        return await self._roots.living(workspace_id, *_ids(principals))

    async def _mine(self, workspace_id: UUID) -> set[str]:
        return {self._me, *await self._roots.groups_of(self._principal.user_id, workspace_id)}


def _ids(principals: Iterable[str]) -> tuple[list[UUID], list[UUID]]:
    """Ids of the users and of the groups among some principals."""
    pairs = [principal.split(":") for principal in principals]
    users = [UUID(id_) for kind, id_ in pairs if kind == "user"]
    return users, [UUID(id_) for kind, id_ in pairs if kind == "group"]


def _described(before: Rules, after: Rules) -> str:
    """What was done, for the audit log: ids and roles, no names."""
    done = [] if before.inherits == after.inherits else ["opened" if after.inherits else "restricted"]
    for key in sorted(before.grants.keys() | after.grants.keys()):
        old, new = before.grants.get(key), after.grants.get(key)
        if old != new:
            done.append(f"{key} {old or 'nothing'} -> {new or 'nothing'}")
    return "; ".join(done)[:2000]
