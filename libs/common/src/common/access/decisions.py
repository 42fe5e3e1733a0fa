"""Pure decisions: what a role allows, and which role somebody has at an access root."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID


class Role(StrEnum):
    """Roles in a workspace or at an access root, strongest first; a guest has only what is granted."""

    OWNER = "owner"
    ADMIN = "admin"
    EDITOR = "editor"
    COMMENTER = "commenter"
    VIEWER = "viewer"
    GUEST = "guest"


class Action(StrEnum):
    """What somebody may want to do with what lies under an access root."""

    ENTER = "enter"
    READ = "read"
    COMMENT = "comment"
    EDIT = "edit"
    DELETE = "delete"
    INVITE = "invite"
    MANAGE = "manage"
    OWN = "own"


_NEEDS: Mapping[Action, Role] = {
    Action.ENTER: Role.GUEST,
    Action.READ: Role.VIEWER,
    Action.COMMENT: Role.COMMENTER,
    Action.EDIT: Role.EDITOR,
    Action.DELETE: Role.EDITOR,
    Action.INVITE: Role.ADMIN,
    Action.MANAGE: Role.ADMIN,
    Action.OWN: Role.OWNER,
}
RANKED: tuple[str, ...] = tuple(role.value for role in reversed(Role))
"""Roles, weakest first: their place is their rank, here and in SQL."""
_RANK = {role: rank for rank, role in enumerate(RANKED)}


def allows(role: str | None, action: Action) -> bool:
    """The decision function: whether `role` (None: no relation at all) suffices for `action`."""
    return role is not None and _RANK[role] >= _RANK[_NEEDS[action]]


def at_least(role: str, other: str) -> bool:
    """Whether `role` is as strong as `other`."""
    return _RANK[role] >= _RANK[other]


def strongest(roles: Iterable[str]) -> str | None:
    """The strongest of some roles, None of none."""
    return max(roles, key=_RANK.__getitem__, default=None)


def roles_allowing(action: Action) -> list[str]:
    """Roles that suffice for `action`: the decision function as an SQL parameter."""
    return [role.value for role in Role if allows(role, action)]


_ABILITIES = {role.value: {action.value: allows(role, action) for action in Action} for role in Role}


def abilities(role: str) -> dict[str, bool]:
    """What a read tells the client it may do, so that a UI need not guess."""
    return _ABILITIES[role]


@dataclass(frozen=True, slots=True)
class Root:
    """A folder or document with access rules of its own. A workspace is a root too, and needs no such record."""

    id: UUID
    workspace_id: UUID
    parent_id: UUID
    """The next root above: another folder's, or the workspace's id."""
    inherits: bool
    """Whether whoever has a role above has it here too; a restricted root inherits nothing."""
    grants: Mapping[UUID, str] = field(default_factory=dict)
    """User or group -> role."""
    removed: bool = False


@dataclass(frozen=True, slots=True)
class Membership:
    """Somebody's living membership of a workspace, and the groups there they belong to."""

    role: str
    groups: Collection[UUID] = ()


def role_at(
    root_id: UUID, user_id: UUID, memberships: Mapping[UUID, Membership], roots: Mapping[UUID, Root]
) -> str | None:
    """The strongest role a user has at a root, None if it is none of their business.

    Grants count only for members and guests of the root's workspace, so leaving it ends all of them; they flow down
    through roots that inherit. A membership flows down likewise, but a guest's brings nothing. An unknown or removed
    root on the way up ends the search: what is not known grants nothing.
    """
    root = roots.get(root_id)
    workspace_id = root.workspace_id if root else root_id
    membership = memberships.get(workspace_id)
    if membership is None:
        return None
    principals = {user_id, *membership.groups}
    found: list[str] = []
    while root is not None and not root.removed:
        found += [role for principal, role in root.grants.items() if principal in principals]
        if not root.inherits:
            return strongest(found)
        root_id, root = root.parent_id, roots.get(root.parent_id)
    if root is None and root_id == workspace_id and membership.role != Role.GUEST:
        found.append(membership.role)
    return strongest(found)
