"""What a user may do at an access root, as a service sees it: for services that act for the user, and for tests."""

from uuid import UUID

from fastapi import APIRouter, Header, Request

from common.access.decisions import abilities
from common.dependencies import internal_caller
from common.errors import NotFoundError, UnauthorizedError
from common.platform import Platform


class NoAccessError(NotFoundError):
    """No such access root, or none the user may know of."""

    code = "no_access"


def routes(schema: str) -> APIRouter:
    """The internal route of a service that decides by copies of rights."""
    router = APIRouter(prefix="/internal", dependencies=[internal_caller()])

    @router.get("/access/{root_id}")
    async def get_access(
        root_id: UUID, request: Request, x_user_token: str = Header(max_length=4000)
    ) -> dict[str, str | dict[str, bool]]:
        """Role and abilities of the user whose access token is forwarded in `X-User-Token`."""
        if not x_user_token:
            raise UnauthorizedError
        platform: Platform = request.app.state.platform
        user = await platform.authenticator.authenticate(x_user_token)
        await platform.access.refresh(user.user_id)
        role = await _role(platform, schema, user.user_id, root_id)
        if role is None:
            await platform.access.learn(user.user_id)
            role = await _role(platform, schema, user.user_id, root_id)
        if role is None:
            raise NoAccessError
        return {"role": role, "abilities": abilities(role)}

    return router


async def _role(platform: Platform, schema: str, user_id: UUID, root_id: UUID) -> str | None:
    async with platform.database.transaction(user_id) as transaction:
        rows = await transaction.single(f"SELECT {schema}.my_role(%(root)s) AS role", {"root": root_id})
    role: str | None = rows[0]["role"]
    return role
