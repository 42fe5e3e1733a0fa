"""What can go wrong here, by cause."""

from common.errors import ForbiddenError, NotFoundError


class WorkspaceNotFoundError(NotFoundError):
    """No such workspace, or none the caller belongs to."""

    code = "workspace_not_found"
    title = "No such workspace"


class EntryNotFoundError(NotFoundError):
    """The log has no entry of this number."""

    code = "entry_not_found"
    title = "No such entry"


class RoleInsufficientError(ForbiddenError):
    """Only owners and admins read a workspace's log."""

    code = "role_insufficient"
    title = "Your role does not allow this"


class RootNotFoundError(NotFoundError):
    """No folder or document of the workspace with access rules of its own has this id."""

    code = "root_not_found"
    title = "No such access root"
