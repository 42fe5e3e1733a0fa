"""Every SQL statement of auth-gateway, named as questions; no rules."""

from .accounts import AccountRepository
from .groups import GroupRepository
from .invitations import InvitationRepository
from .members import MemberRepository
from .workspaces import WorkspaceRepository

__all__ = ["AccountRepository", "GroupRepository", "InvitationRepository", "MemberRepository", "WorkspaceRepository"]
