"""The settings by which ai-proxy asks the development provider instead of real ones."""

import json
from collections.abc import Sequence

OPENAI_KEY = "dev-openai-key"
ANTHROPIC_KEY = "dev-anthropic-key"
PRICES = {
    "dev-small": {"input": 0.25, "output": 2},
    "dev-large": {"input": 3, "output": 15},
    "dev-embed": {"input": 0.02, "output": 0},
}
"""Invented: US dollars for a million tokens."""
NOTE = "the AI is the development provider, not a real model; AI_PROXY_PROVIDER_KEYS sets real ones"


def settings(url: str, models: Sequence[str] = tuple(PRICES)) -> dict[str, str]:
    """Name of the setting -> value, for the provider at this URL; without models it is asked for every one."""
    shared = {"models": list(models), "prices": PRICES}
    return {
        "PROVIDERS": json.dumps(
            {wire: {"wire": wire, "base_url": f"{url}/v1", **shared} for wire in ("openai", "anthropic")}
        ),
        "PROVIDER_KEYS": json.dumps({"openai": OPENAI_KEY, "anthropic": ANTHROPIC_KEY}),
        "ASSIST_MODEL": "dev-small",
        "UNKNOWN_MODEL": "dev-large",
    }
