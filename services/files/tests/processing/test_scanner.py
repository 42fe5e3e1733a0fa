"""The scan hook against a small clamd that speaks the real protocol."""

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from files.processing import scanner
from files.processing.scanner import ClamAv, ScannerUnavailableError, TooLargeToScanError, open_scanner

EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
MOST = 3_000_000
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def clamd(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """clamd(8): PING, INSTREAM, StreamMaxLength."""
    command = await reader.readuntil(b"\0")
    if command == b"zPING\0":
        writer.write(b"PONG\0")
    elif command == b"zINSTREAM\0":
        writer.write(await verdict(reader))
    else:
        writer.write(b"UNKNOWN COMMAND\0")


async def verdict(reader: asyncio.StreamReader) -> bytes:
    data = bytearray()
    while size := struct.unpack(">I", await reader.readexactly(4))[0]:
        if len(data) + size > MOST:
            return b"INSTREAM size limit exceeded. ERROR\0"
        data += await reader.readexactly(size)
    return b"stream: Eicar-Test-Signature FOUND\0" if EICAR in data else b"stream: OK\0"


@asynccontextmanager
async def served(handler: Handler) -> AsyncIterator[ClamAv]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield ClamAv("127.0.0.1", server.sockets[0].getsockname()[1])
    finally:
        server.close()


async def chunks(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def test_clean_files_and_found_ones() -> None:
    async with served(clamd) as scan:
        await scan.ping()
        assert await scan.scan(chunks(b"harmless", b"", b"text")) is None
        assert await scan.scan(chunks()) is None
        assert await scan.scan(chunks(b"x" * 2_500_000)) is None, "longer than a chunk"
        assert await scan.scan(chunks(EICAR)) == "Eicar-Test-Signature"
        assert await scan.scan(chunks(b"x" * 10, EICAR[:20], EICAR[20:])) == "Eicar-Test-Signature"


async def test_a_file_over_clamds_limit_is_told_apart() -> None:
    async with served(clamd) as scan:
        with pytest.raises(TooLargeToScanError):
            await scan.scan(chunks(*[b"x" * 1_000_000] * 50))


async def nothing(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(30)


async def hung_up(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.readexactly(20)


async def garbage(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n\0")


async def endless(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"x" * 65536)
        await writer.drain()


async def broken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await verdict_of_command(reader)
    writer.write(b"stream: Can't allocate memory ERROR\0")


async def verdict_of_command(reader: asyncio.StreamReader) -> None:
    await reader.readuntil(b"\0")
    await verdict(reader)


@pytest.mark.parametrize("handler", [nothing, hung_up, garbage, endless, broken])
async def test_no_verdict_is_not_a_clean_file(handler: Handler, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanner, "REPLY_SECONDS", 0.3)
    monkeypatch.setattr(scanner, "SEND_SECONDS", 0.3)
    for size in (10, 5_000_000):
        async with served(handler) as scan:
            async with asyncio.timeout(5):
                with pytest.raises(ScannerUnavailableError):
                    await scan.scan(chunks(b"x" * size))
    if handler in {nothing, hung_up, garbage, endless}:
        async with served(handler) as scan:
            with pytest.raises(ScannerUnavailableError):
                await scan.ping()


async def test_nobody_listens() -> None:
    async with served(clamd) as scan:
        pass
    with pytest.raises(ScannerUnavailableError):
        await scan.ping()
    with pytest.raises(ScannerUnavailableError):
        await scan.scan(chunks(b"x"))


async def test_a_source_that_fails_is_not_the_scanners_fault() -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield b"x"
        raise KeyError("gone")

    async with served(clamd) as scan:
        with pytest.raises(KeyError):
            await scan.scan(failing())


def test_none_when_not_set() -> None:
    assert open_scanner(None) is None
    assert open_scanner("") is None
    assert isinstance(open_scanner("127.0.0.1"), ClamAv)
