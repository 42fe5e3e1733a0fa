"""Every SQL statement of auth-gateway, named as questions; no rules."""

from .accounts import AccountRepository
from .workspaces import WorkspaceRepository

__all__ = ["AccountRepository", "WorkspaceRepository"]
