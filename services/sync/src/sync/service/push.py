"""Operations of devices: numbered, leased, handed to documents, which carries each out once."""

import logging
from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

from common.auth import Principal
from common.client import InternalClient, PeerUnavailableError
from common.database import Database
from common.errors import ServiceError

from ..errors import DeviceForkedError, DeviceGapError, PushInProgressError
from ..repository import DeviceRepository
from .devices import check_device
from .meter import Meter

log = logging.getLogger(__name__)

OPERATIONS = "/internal/documents/ops"
DEADLINE_SECONDS = 18.0
CALL_SECONDS = 20.0
LEASE_SECONDS = 25.0

Operation = dict[str, Any]


class PushService:
    """Operations on behalf of one caller; what documents does is decided by documents alone."""

    def __init__(
        self, database: Database, client: InternalClient, meter: Meter, principal: Principal, user_token: str
    ) -> None:
        self._database = database
        self._client = client
        self._meter = meter
        self._principal = principal
        self._user_token = user_token

    async def push(self, device_id: UUID, operations: Sequence[Operation]) -> list[Operation]:
        """Results of operations, in order; `retry` for those that were not reached.

        Raises `DeviceGapError`, `DeviceForkedError`, `PushInProgressError` and what `check_device` raises.
        """
        lease = uuid4()
        last_n = await self._begin(device_id, lease, [operation["n"] for operation in operations])
        taken = last_n
        try:
            results = await self._carry_out(device_id, last_n, operations)
            taken = max([last_n, *(result["n"] for result in results if result["status"] != "retry")])
        finally:
            await self._end(device_id, lease, taken)
        self._meter.pushed(operations, results)
        return results

    async def resolve(self, operation: Operation) -> Operation:
        """Result of an operation of the server's own making, which belongs to no device's queue."""
        results = await self._call(None, 0, [operation])
        return results[0]

    async def _begin(self, device_id: UUID, lease: UUID, numbers: Sequence[int]) -> int:
        async with self._database.transaction(self._principal.user_id) as transaction:
            devices = DeviceRepository(transaction, self._principal.user_id)
            check_device(await devices.find(device_id), self._principal)
            leased = await devices.lease(device_id, lease, LEASE_SECONDS)
            if leased is None:
                raise PushInProgressError(headers={"Retry-After": "1"})
            last_n: int = leased["last_n"]
            expected = min(numbers[0], last_n + 1)
            for number in numbers:
                if number != expected:
                    raise DeviceGapError(f"operation {expected} is missing", expected_n=expected)
                expected += 1
        return last_n

    async def _end(self, device_id: UUID, lease: UUID, taken: int) -> None:
        try:
            async with self._database.transaction(self._principal.user_id) as transaction:
                await DeviceRepository(transaction, self._principal.user_id).return_lease(device_id, lease, taken)
        except ServiceError as error:  # a repeated operation is answered as before, and the lease runs out
            log.warning("end of a push not noted", extra={"fields": {"cause": str(error)}})

    async def _carry_out(self, device_id: UUID, last_n: int, operations: Sequence[Operation]) -> list[Operation]:
        try:
            return await self._call(device_id, last_n, operations)
        except PeerUnavailableError as error:
            log.info("operations not carried out", extra={"fields": {"cause": str(error)}})
            return [_retry(operation) for operation in operations]

    async def _call(self, device_id: UUID | None, known_up_to: int, operations: Sequence[Operation]) -> list[Operation]:
        body = {
            "device_id": device_id,
            "known_up_to": known_up_to,
            "deadline_ms": int(DEADLINE_SECONDS * 1000),
            "ops": operations,
        }
        answer = await self._client.post(
            "documents", OPERATIONS, body, acting_user=self._principal.user_id, user_token=self._user_token,
            seconds=CALL_SECONDS,
        )  # fmt: skip
        if answer["forked"]:
            raise DeviceForkedError(expected_n=known_up_to + 1)
        results: list[Operation] = answer["results"]
        return results


def _retry(operation: Operation) -> Operation:
    kept = {name: operation.get(name) for name in ("op_id", "n", "entity", "id")}
    return {**kept, "status": "retry", "code": "documents_unavailable"}
