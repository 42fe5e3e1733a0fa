"""Own keys of users and workspaces: kept encrypted, used for their calls, never shown."""

from uuid import UUID

from common.access import Action
from common.database import Row, Transaction

from ..errors import OwnKeyNotFoundError
from ..providers.catalog import Catalog
from ..providers.keyring import Keyring
from ..repository import KeyRepository
from .places import Caller, Place, Places

LAST = 4


class KeyService:
    """Keys one caller may manage: their own, and those of workspaces they manage."""

    def __init__(
        self, transaction: Transaction, places: Places, catalog: Catalog, keyring: Keyring, caller: Caller
    ) -> None:
        self._keys = KeyRepository(transaction, caller.principal)
        self._places = places
        self._catalog = catalog
        self._keyring = keyring
        self._caller = caller

    async def get(self, provider: str, workspace_id: UUID | None) -> Row:
        """What may be shown. Raises `OwnKeyNotFoundError`, and as `put` does."""
        row = await self._keys.find(*await self._owner(provider, workspace_id), provider)
        if row is None:
            raise OwnKeyNotFoundError
        return row

    async def put(self, provider: str, workspace_id: UUID | None, key: str) -> Row:
        """Keep one. Raises `ProviderNotFoundError`, `WorkspaceNotFoundError`, `ActionForbiddenError`."""
        kind, owner = await self._owner(provider, workspace_id)
        sealed = await self._keyring.seal(key, f"{kind}:{owner}:{provider}")
        return await self._keys.put(
            kind, owner, provider, wrapped_key=sealed.wrapped_key, ciphertext=sealed.ciphertext, last4=key[-LAST:]
        )

    async def delete(self, provider: str, workspace_id: UUID | None) -> None:
        """Forget one. Raises `OwnKeyNotFoundError`, and as `put` does."""
        if not await self._keys.delete(*await self._owner(provider, workspace_id), provider):
            raise OwnKeyNotFoundError

    async def _owner(self, provider: str, workspace_id: UUID | None) -> tuple[str, UUID]:
        if workspace_id is None:
            self._catalog.get(provider)
            return "user", self._caller.user_id
        await self._places.require(self._caller, Place(workspace_id), Action.MANAGE)
        self._catalog.get(provider)
        return "workspace", workspace_id
