"""The verbs of auth-gateway: they decide, raise and publish; no HTTP, no SQL."""

from .accounts import AccountService, Device, Grant
from .facts import FactService
from .workspaces import WorkspaceService

__all__ = ["AccountService", "Device", "FactService", "Grant", "WorkspaceService"]
