"""Settings of auth-gateway, read from `AUTH_GATEWAY_*` and `MDC_*`."""

from datetime import timedelta
from pathlib import Path

from pydantic import Field, SecretStr

from common.settings import CommonSettings


class Settings(CommonSettings):
    """What auth-gateway can be told."""

    service = "auth-gateway"

    signing_keys: SecretStr = Field(description="RSA private keys, PEM; the first signs, all are published")
    refresh_key: SecretStr = Field(min_length=32, description="Secret from which refresh tokens are derived")
    access_token_seconds: int = Field(default=600, ge=30, le=3600, description="Lifetime of access tokens")
    session_days: int = Field(default=30, ge=1, description="A session unused this long ends")
    refresh_reuse_seconds: int = Field(
        default=10, description="A replaced refresh token still gets the current one this long"
    )
    workspace_grace_days: int = Field(default=30, ge=1, description="A deleted workspace can be restored this long")
    invitation_days: int = Field(default=14, ge=1, description="Lifetime of invitations")
    verification_hours: int = Field(default=48, ge=1, description="Lifetime of e-mail verification links")
    email_verification: bool = Field(default=True, description="Whether a verification mail follows registration")
    enumeration_safe: bool = Field(default=False, description="Registration never tells whether an address is taken")
    app_url: str = Field(default="http://localhost:5173", description="Web app that mails link to")
    mail_dir: Path = Field(description="Folder mails are written to (.eml) when no SMTP server is set")
    smtp_url: SecretStr | None = Field(
        default=None, description="smtp://user:password@host:port (STARTTLS) or smtps://"
    )
    mail_from: str = Field(default="MD Creator <no-reply@localhost>", description="Sender of mails")
    password_threads: int = Field(default=2, ge=1, description="Password hashes computed at once")
    password_queue: int = Field(default=64, ge=1, description="Password hashes waiting before 503")
    login_attempts_per_minute: int = Field(
        default=6,
        ge=1,
        description="Logins per account, client IP and minute after a burst of 10; ten times that in all",
    )
    mails_per_minute: int = Field(default=1, ge=1, description="Mails to one address and minute after a burst of 5")

    @property
    def session_lifetime(self) -> timedelta:
        """How long a session lives after its last refresh."""
        return timedelta(days=self.session_days)
