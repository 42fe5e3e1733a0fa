"""Where the official SDKs are pointed: at the development provider itself, or at ai-proxy in front of it."""

import base64
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import anthropic
import openai
from deploy.provider.pointing import ANTHROPIC_KEY, OPENAI_KEY
from deploy.provider.record import Received
from deploy.provider.server import Running

QUESTION = "[page 4] The fox is red. Bears are brown.\nWhat colour is the fox?"
ANSWER = "“The fox is red.” [page 4]"
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
CLOSED_SECONDS = 1.0
"""Within which the provider must see that a caller has gone."""


@dataclass(frozen=True)
class Door:
    """Base URLs, what a caller authenticates with, and the provider behind."""

    openai_url: str
    anthropic_url: str
    openai_key: str
    anthropic_key: Mapping[str, str]
    behind: Running

    @property
    def direct(self) -> bool:
        """Whether this is the provider itself."""
        return self.openai_key == OPENAI_KEY

    def openai(self, key: str | None = None) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=self.openai_url, api_key=key or self.openai_key, max_retries=0)

    def anthropic(self, key: str | None = None) -> anthropic.AsyncAnthropic:
        given = {"api_key": key} if key else dict(self.anthropic_key)
        return anthropic.AsyncAnthropic(base_url=self.anthropic_url, max_retries=0, **given)

    def for_node(self) -> dict[str, Any]:
        """As the script of the npm SDKs wants it."""
        names = {"api_key": "apiKey", "auth_token": "authToken"}
        return {
            "openai": self.openai_url,
            "anthropic": self.anthropic_url,
            "openaiKey": self.openai_key,
            "anthropicKey": {names[name]: value for name, value in self.anthropic_key.items()},
            "question": QUESTION,
            "image": base64.b64encode(PNG).decode(),
        }

    async def closed(self) -> Received:
        """The last request the provider got, once the provider has seen the caller go."""
        received = self.behind.record.requests[-1]
        left = time.monotonic()
        await self.behind.record.until(lambda: received.end != "open", 10)
        assert received.end == "closed by caller"
        assert received.ended is not None
        assert received.ended - left < CLOSED_SECONDS
        return received


def direct(provider: Running) -> Door:
    """The provider itself."""
    return Door(f"{provider.url}/v1", provider.url, OPENAI_KEY, {"api_key": ANTHROPIC_KEY}, provider)


def proxied(url: str, token: str, provider: Running) -> Door:
    """ai-proxy at this base URL, by an access token alone."""
    return Door(f"{url}/v1/ai/openai", f"{url}/v1/ai/anthropic", token, {"auth_token": token}, provider)
