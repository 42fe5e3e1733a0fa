"""E-mail addresses: mails to them, and the note that somebody has proven to own one."""

import logging
import smtplib
from email.message import EmailMessage
from uuid import UUID

from common.auth import Principal
from common.contracts.auth_gateway import UserUpdated

from ..mail import Mailer
from ..repository import AccountRepository

log = logging.getLogger(__name__)

MAIL_FAILURES = (OSError, smtplib.SMTPException)


async def note_verified(accounts: AccountRepository, user_id: UUID, email: str, principal: Principal | None) -> None:
    """Take note, once, that somebody has proven to own the address of their account."""
    if noted := await accounts.verify_email(user_id, email):
        event = UserUpdated(
            user_id=user_id, display_name=noted["display_name"], version=noted["version"], email_verified=True
        )
        await accounts.record(event, user_id, noted["version"], principal)


async def deliver(mailer: Mailer, message: EmailMessage) -> None:
    """Send; a failure is logged, not raised: what it is about is committed, and every mail can be sent again."""
    try:
        await mailer.send(message)
    except MAIL_FAILURES as error:
        log.warning("mail not sent", extra={"fields": {"subject": message["Subject"], "cause": repr(error)}})
