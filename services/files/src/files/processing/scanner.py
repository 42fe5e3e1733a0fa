"""Malware scan of uploaded files: ClamAV's clamd over TCP (clamd(8), commands PING and INSTREAM), if one is set."""

import asyncio
import struct
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final, Protocol

from common.errors import UnavailableError

PORT: Final = 3310
CONNECT_SECONDS: Final = 5.0
SEND_SECONDS: Final = 30.0
"""For clamd to take one chunk."""
REPLY_SECONDS: Final = 120.0
"""For clamd's verdict after the last chunk."""
CHUNK_BYTES: Final = 1024 * 1024
"""Longest chunk sent; clamd takes any up to its StreamMaxLength."""
_LENGTH: Final = struct.Struct(">I")
_REPLY_BYTES: Final = 4096
_LOST: Final = (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError)


class ScannerUnavailableError(UnavailableError):
    """The scanner gave no verdict; nothing is known about the file."""

    code = "scanner_unavailable"
    title = "The malware scanner is not reachable"


class TooLargeToScanError(Exception):
    """The scanner refuses a file of this size (clamd's StreamMaxLength); asking again does not help."""


class Scanner(Protocol):
    """Looks for malware."""

    async def scan(self, chunks: AsyncIterator[bytes]) -> str | None:
        """Name of what was found. Raises `ScannerUnavailableError`, `TooLargeToScanError`."""


class ClamAv:
    """A clamd; one connection per call, as it closes them itself."""

    def __init__(self, host: str, port: int = PORT) -> None:
        self._host = host
        self._port = port

    async def ping(self) -> None:
        """Raises `ScannerUnavailableError` unless clamd is there and answers."""
        async with self._connection() as (reader, writer):
            writer.write(b"zPING\0")
            if await _reply(reader) != "PONG":
                raise ScannerUnavailableError("clamd does not answer PING")

    async def scan(self, chunks: AsyncIterator[bytes]) -> str | None:
        """See `Scanner.scan`."""
        async with self._connection() as (reader, writer):
            replying = asyncio.create_task(reader.readuntil(b"\0"))
            try:
                writer.write(b"zINSTREAM\0")
                await _send(writer, chunks)
                async with asyncio.timeout(REPLY_SECONDS):
                    reply = await replying
            finally:
                replying.cancel()
                await asyncio.wait([replying])
                _ = replying.cancelled() or replying.exception()
        return _verdict(_text(reply))

    @asynccontextmanager
    async def _connection(self) -> AsyncGenerator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """Whatever tells of a lost or dumb clamd becomes `ScannerUnavailableError`."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                reader, writer = await asyncio.open_connection(self._host, self._port, limit=_REPLY_BYTES)
        except _LOST as error:
            raise ScannerUnavailableError(f"clamd: {error!r}") from error
        try:
            yield reader, writer
        except _LOST as error:
            raise ScannerUnavailableError(f"clamd: {error!r}") from error
        finally:
            writer.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()


def open_scanner(host: str | None, port: int = PORT) -> Scanner | None:
    """The scanner these settings name; None without a host: files are then not scanned."""
    return ClamAv(host, port) if host else None


async def _send(writer: asyncio.StreamWriter, chunks: AsyncIterator[bytes]) -> None:
    async for chunk in chunks:
        for start in range(0, len(chunk), CHUNK_BYTES):
            piece = chunk[start : start + CHUNK_BYTES]
            if not await _sent(writer, _LENGTH.pack(len(piece)), piece):
                return
    await _sent(writer, _LENGTH.pack(0))


async def _sent(writer: asyncio.StreamWriter, *data: bytes) -> bool:
    """False when clamd hangs up, as it does when it has seen enough; its reply says why."""
    if writer.is_closing():  # uvloop raises RuntimeError where asyncio drops what is written
        return False
    writer.writelines(data)
    try:
        async with asyncio.timeout(SEND_SECONDS):
            await writer.drain()
    except ConnectionError:
        return False
    return True


async def _reply(reader: asyncio.StreamReader) -> str:
    async with asyncio.timeout(REPLY_SECONDS):
        return _text(await reader.readuntil(b"\0"))


def _text(reply: bytes) -> str:
    return reply.rstrip(b"\0\n").decode("utf-8", "replace")


def _verdict(reply: str) -> str | None:
    result = reply.removeprefix("stream: ")
    if result == "OK":
        return None
    if result.endswith(" FOUND"):
        return result.removesuffix(" FOUND")
    if "size limit exceeded" in result:
        raise TooLargeToScanError
    raise ScannerUnavailableError(f"clamd: {reply[:200]!r}")
