"""Mails: written to a folder as .eml, or sent by SMTP when a server is set."""

import asyncio
import secrets
import smtplib
import time
from email.message import EmailMessage
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

SMTP_TIMEOUT_SECONDS = 10


class Mailer(Protocol):
    """Sends one message; raises OSError or smtplib.SMTPException if it cannot."""

    async def send(self, message: EmailMessage) -> None:
        """Hand the message over."""


def compose(sender: str, to: str, subject: str, text: str) -> EmailMessage:
    """A plain text message; header injection is refused by `EmailMessage` itself."""
    message = EmailMessage()
    message["From"] = sender
    message["To"] = to
    message["Subject"] = subject
    message.set_content(text)
    return message


class FolderMailer:
    """One .eml file a message, complete as soon as it is visible."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def send(self, message: EmailMessage) -> None:
        """Write the message."""
        await asyncio.to_thread(self._write, message.as_bytes())

    def _write(self, data: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        name = f"{time.time_ns()}-{secrets.token_hex(4)}.eml"
        temporary = self._folder / f".{name}"
        temporary.touch(mode=0o600)  # a mail may hold the secret of an invitation
        temporary.write_bytes(data)
        temporary.replace(self._folder / name)


class SmtpMailer:
    """`smtps://` speaks TLS from the start, `smtp://` upgrades with STARTTLS when there is a password."""

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url)

    async def send(self, message: EmailMessage) -> None:
        """Send the message."""
        await asyncio.to_thread(self._deliver, message)

    def _deliver(self, message: EmailMessage) -> None:
        kind = smtplib.SMTP_SSL if self._url.scheme == "smtps" else smtplib.SMTP
        with kind(self._url.hostname or "localhost", self._url.port or 0, timeout=SMTP_TIMEOUT_SECONDS) as server:
            if self._url.password:
                if self._url.scheme == "smtp":
                    server.starttls()
                server.login(unquote(self._url.username or ""), unquote(self._url.password))
            server.send_message(message)
