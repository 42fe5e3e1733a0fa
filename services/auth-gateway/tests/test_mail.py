"""Mails as files and over SMTP."""

import asyncio
import smtplib
from contextlib import asynccontextmanager
from email import message_from_bytes, policy

import pytest

from auth_gateway.mail import FolderMailer, SmtpMailer, compose

MESSAGE = compose("MD Creator <no-reply@example.org>", "jürgen@exämple.org", "Grüße ✎", "Öffne:\n\nhttps://x/y\n")


@asynccontextmanager
async def smtp_server(extensions=()):
    """An SMTP server (RFC 5321) as small as can be: its port, and the lines it was told."""
    heard = []

    async def talk(reader, writer):
        writer.write(b"220 here\r\n")
        while line := await reader.readline():
            heard.append(line)
            verb = line[:4].upper()
            if verb == b"EHLO":
                names = ("here", *extensions)
                writer.write(b"".join(b"250-%s\r\n" % name.encode() for name in names) + b"250 8BITMIME\r\n")
            elif verb == b"DATA":
                writer.write(b"354 go on\r\n")
                heard.append(await reader.readuntil(b"\r\n.\r\n"))
                writer.write(b"250 taken\r\n")
            elif verb == b"QUIT":
                writer.write(b"221 bye\r\n")
                break
            else:
                writer.write(b"250 fine\r\n")
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], heard


async def test_a_file_is_a_whole_message(tmp_path):
    await asyncio.gather(*(FolderMailer(tmp_path / "new").send(MESSAGE) for _ in range(5)))
    files = list((tmp_path / "new").iterdir())
    assert len(files) == 5
    for file in files:
        assert file.suffix == ".eml"
        read = message_from_bytes(file.read_bytes(), policy=policy.default)
        assert (read["Subject"], read["To"]) == (MESSAGE["Subject"], MESSAGE["To"])
        assert read.get_content() == MESSAGE.get_content()


async def test_smtp_hands_the_message_over():
    message = compose("no-reply@example.org", "ada@example.org", "Hello", "Text\n")
    async with smtp_server() as (port, heard):
        await SmtpMailer(f"smtp://127.0.0.1:{port}").send(message)
    assert b"mail FROM:<no-reply@example.org>\r\n" in [line[: line.find(b">") + 1] + b"\r\n" for line in heard]
    assert any(line.startswith(b"rcpt TO:<ada@example.org>") for line in heard)
    assert any(b"Subject: Hello" in line for line in heard)


async def test_a_password_is_never_sent_in_the_clear():
    async with smtp_server(["AUTH PLAIN LOGIN"]) as (port, heard):
        with pytest.raises(smtplib.SMTPException):
            await SmtpMailer(f"smtp://ada:secret@127.0.0.1:{port}").send(MESSAGE)
    assert not any(line.upper().startswith(b"AUTH") for line in heard)


async def test_a_server_that_is_away_is_an_os_error():
    with pytest.raises(OSError, match="refused"):
        await SmtpMailer("smtp://127.0.0.1:1").send(MESSAGE)


@pytest.mark.parametrize("header", ["a\nBcc: eve@example.org", "a\r\n\r\nbody"])
def test_headers_cannot_be_injected(header):
    with pytest.raises(ValueError, match="linefeed"):
        compose("no-reply@example.org", "ada@example.org", header, "text")
