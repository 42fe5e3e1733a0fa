"""What processes tell each other over Redis, only to be quick: what is lost or late is read from the log."""

import asyncio
import contextlib
import logging
import struct
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol
from uuid import UUID

import orjson
from redis.asyncio import Redis
from redis.exceptions import RedisError

from common.identifiers import uuid7

from ..domain.presence import Entry

log = logging.getLogger(__name__)

CHANNEL: Final = "mdc:collab"
CROWD: Final = "mdc:collab:crowd"
CROWD_SECONDS: Final = 30.0
RETRY_SECONDS: Final = 1.0
MAX_WAITING: Final = 1_000
"""Messages for a slow Redis; what is more is read from the log."""
MAX_TOLD_BYTES: Final = 256 * 1024
"""A larger update is read from the log by those who need it."""
_UPDATE, _PRESENCE, _ASK, _VERSION = b"u", b"p", b"a", b"v"
_HEAD: Final = struct.Struct(">c16s16sIQ")


class Told(NamedTuple):
    """What a message says of a document."""

    kind: bytes
    document_id: UUID
    lineage: int
    seq: int
    body: bytes


class Ears(Protocol):
    """Who hears."""

    def hear_update(self, document_id: UUID, lineage: int, seq: int, payload: bytes) -> None:
        """An entry of the log; empty if it has to be read there."""

    def hear_presence(self, document_id: UUID, entries: Sequence[tuple[Entry, str]]) -> None:
        """Clients of another process."""

    def hear_question(self, document_id: UUID) -> None:
        """Another process wants to know who is here."""

    def hear_version(self, document_id: UUID) -> None:
        """There is a version the live document does not have."""

    def reconnected(self) -> None:
        """What was said until now was not heard."""


class Fanout:
    """One ordered line to Redis in each direction; never waited for."""

    def __init__(self, publisher: Redis, channel: Redis) -> None:
        self._publisher = publisher
        self._channel = channel
        self._me = uuid7().bytes
        self._outbox: asyncio.Queue[bytes] = asyncio.Queue(MAX_WAITING)
        self.listening = False
        """Whether what others say is heard at the moment."""

    def tell_update(self, document_id: UUID, lineage: int, seq: int, payload: bytes) -> None:
        """An entry of the log."""
        self._say(_UPDATE, document_id, lineage, seq, payload if len(payload) <= MAX_TOLD_BYTES else b"")

    def tell_presence(self, document_id: UUID, entries: Sequence[tuple[Entry, str]]) -> None:
        """Clients of this process."""
        rows = [[entry.client, entry.clock, entry.state.decode(), user] for entry, user in entries]
        self._say(_PRESENCE, document_id, 0, 0, orjson.dumps(rows))

    def ask_presence(self, document_id: UUID) -> None:
        """Have other processes tell who is in a document."""
        self._say(_ASK, document_id, 0, 0, b"")

    def tell_version(self, document_id: UUID) -> None:
        """A version was written elsewhere."""
        self._say(_VERSION, document_id, 0, 0, b"")

    def _say(self, kind: bytes, document_id: UUID, lineage: int, seq: int, body: bytes) -> None:
        try:
            self._outbox.put_nowait(_HEAD.pack(kind, self._me, document_id.bytes, lineage, seq) + body)
        except asyncio.QueueFull:
            log.warning("not told to other processes, they will look")

    async def show(self, people: Sequence[Mapping[str, Any]]) -> None:
        """Let other processes see who is here; again within 30 s, or it is forgotten."""
        with contextlib.suppress(RedisError, OSError):
            await self._publisher.hset(CROWD, self._me.hex(), orjson.dumps({"at": time.time(), "people": people}))

    async def crowd(self) -> list[dict[str, Any]]:
        """Who is at other processes; nobody, if that cannot be asked."""
        try:
            shown: Any = await self._publisher.hgetall(CROWD)
            found = {name: orjson.loads(value) for name, value in shown.items() if name.decode() != self._me.hex()}
            before = time.time() - CROWD_SECONDS
            if gone := [name for name, one in found.items() if one["at"] < before]:
                await self._publisher.hdel(CROWD, *gone)
        except (RedisError, OSError):
            return []
        return [person for one in found.values() if one["at"] >= before for person in one["people"]]

    async def run(self, ears: Ears) -> None:
        """Speak and listen for the life of the process."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._speak())
            tasks.create_task(self._listen_forever(ears))

    async def _speak(self) -> None:
        while True:
            message = await self._outbox.get()
            try:
                await self._publisher.publish(CHANNEL, message)
            except (RedisError, OSError) as error:
                log.warning("updates not told to other processes", extra={"fields": {"cause": str(error)}})
                while not self._outbox.empty():  # late news is no news
                    self._outbox.get_nowait()
                await asyncio.sleep(RETRY_SECONDS)

    async def _listen_forever(self, ears: Ears) -> None:
        while True:
            try:
                await self._listen(ears)
            except (RedisError, OSError) as error:
                log.warning("channel of updates lost", extra={"fields": {"cause": str(error)}})
            self.listening = False
            await asyncio.sleep(RETRY_SECONDS)

    async def _listen(self, ears: Ears) -> None:
        async with self._channel.pubsub() as channel:
            await channel.subscribe(CHANNEL)
            self.listening = True
            ears.reconnected()
            while True:
                message = await channel.get_message(ignore_subscribe_messages=True, timeout=10.0)
                if message:
                    self._hear(message["data"], ears)

    def _hear(self, data: bytes, ears: Ears) -> None:
        try:
            kind, sender, document, lineage, seq = _HEAD.unpack_from(data)
            if sender == self._me:
                return
            dispatch(Told(kind, UUID(bytes=document), lineage, seq, data[_HEAD.size :]), ears)
        except (struct.error, ValueError, TypeError) as error:  # of a later release, say
            log.warning("message not understood", extra={"fields": {"cause": repr(error)}})


def dispatch(told: Told, ears: Ears) -> None:
    """Call what a message is about. Raises ValueError, TypeError for what is malformed."""
    match told.kind:
        case b"u":
            ears.hear_update(told.document_id, told.lineage, told.seq, told.body)
        case b"p":
            rows: list[Any] = orjson.loads(told.body)
            entries = [(Entry(client, clock, state.encode()), user) for client, clock, state, user in rows]
            ears.hear_presence(told.document_id, entries)
        case b"a":
            ears.hear_question(told.document_id)
        case b"v":
            ears.hear_version(told.document_id)
