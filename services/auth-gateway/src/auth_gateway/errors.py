"""What can go wrong here, by cause."""

from common.errors import (
    ConflictError,
    ForbiddenError,
    GoneError,
    NotFoundError,
    UnauthorizedError,
    UnavailableError,
    UnprocessableError,
)


class EmailTakenError(ConflictError):
    """An account with this address exists."""

    code = "email_taken"
    title = "An account with this e-mail address exists"


class PasswordTooWeakError(UnprocessableError):
    """The password can be guessed."""

    code = "password_too_weak"
    title = "The password is too easy to guess"


class InvalidCredentialsError(UnauthorizedError):
    """Address or password are wrong; the same answer after the same time for both."""

    code = "invalid_credentials"
    title = "E-mail address or password are wrong"


class RefreshInvalidError(UnauthorizedError):
    """Not a refresh token of a living session."""

    code = "refresh_invalid"
    title = "The refresh token is not valid"


class RefreshReusedError(UnauthorizedError):
    """An old refresh token came again: the session was ended, since somebody may have stolen it."""

    commits = True
    code = "refresh_reused"
    title = "The refresh token was used before; the session has been ended"


class TooManyPasswordsError(UnavailableError):
    """More password hashes are waiting than the queue holds."""

    code = "password_queue_full"
    title = "Too many sign-ins at once"


class SessionNotFoundError(NotFoundError):
    """No such session of the caller."""

    code = "session_not_found"
    title = "No such session"


class UserNotFoundError(NotFoundError):
    """No such user, or nobody the caller shares a workspace with."""

    code = "user_not_found"
    title = "No such user"


class WorkspaceNotFoundError(NotFoundError):
    """No such workspace, or none the caller belongs to."""

    code = "workspace_not_found"
    title = "No such workspace"


class ConfirmationMissingError(UnprocessableError):
    """Deleting a workspace needs its name repeated."""

    code = "confirmation_missing"
    title = "Repeat the name of the workspace to confirm"


class EmailNotVerifiedError(ForbiddenError):
    """The domain of the caller's address is allowed, but the address is not proven."""

    code = "email_not_verified"
    title = "Confirm your e-mail address first"


class MemberNotFoundError(NotFoundError):
    """Nobody of this id is a member."""

    code = "member_not_found"
    title = "No such member"


class RoleInsufficientError(ForbiddenError):
    """The caller's role does not suffice."""

    code = "role_insufficient"
    title = "Your role does not allow this"


class LastOwnerError(ConflictError):
    """A workspace keeps at least one owner."""

    code = "last_owner"
    title = "The last owner cannot leave or be demoted"


class OwnMembershipError(ConflictError):
    """Nobody suspends themselves or hands a workspace over to themselves."""

    code = "own_membership"
    title = "This cannot be done to your own membership"


class GroupNotFoundError(NotFoundError):
    """No such group in this workspace."""

    code = "group_not_found"
    title = "No such group"


class GroupExistsError(ConflictError):
    """A group of this workspace has the name, in whatever case."""

    code = "group_exists"
    title = "A group of this name exists"


class NotAMemberError(UnprocessableError):
    """Only living members and guests of the workspace can be in its groups; `user_ids` names up to 20 who are not."""

    code = "not_a_member"
    title = "Not a member of this workspace"


class AlreadyMemberError(ConflictError):
    """The invited address belongs to a member."""

    code = "already_member"
    title = "This person is a member already"


class AlreadyInvitedError(ConflictError):
    """An open invitation for this address exists."""

    code = "already_invited"
    title = "This address has an open invitation"


class InvitationNotFoundError(NotFoundError):
    """No such invitation."""

    code = "invitation_not_found"
    title = "No such invitation"


class InvitationGoneError(GoneError):
    """The invitation has expired, was withdrawn, or was accepted by somebody else."""

    code = "invitation_gone"
    title = "The invitation is no longer open"


class InvitationForOtherError(ForbiddenError):
    """The invitation was mailed to another address than the caller's."""

    code = "invitation_for_other_address"
    title = "The invitation was sent to another address"


class VerificationInvalidError(UnprocessableError):
    """The verification link is unknown, used or expired."""

    code = "verification_invalid"
    title = "The verification link is not valid any more"
