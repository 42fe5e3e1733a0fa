"""The verbs of auth-gateway: they decide, raise and publish; no HTTP, no SQL."""

from .accounts import AccountService, Device, Grant
from .facts import FactService
from .groups import GroupService
from .invitations import InvitationService
from .members import MemberService
from .memberships import Memberships
from .workspaces import WorkspaceService

__all__ = [
    "AccountService",
    "Device",
    "FactService",
    "Grant",
    "GroupService",
    "InvitationService",
    "MemberService",
    "Memberships",
    "WorkspaceService",
]
