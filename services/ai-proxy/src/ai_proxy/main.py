"""Composition: settings in, app out."""

from fastapi import FastAPI
from starlette.middleware import Middleware

from common.app import create_app

from . import consumers, dependencies, routes
from .settings import Settings

CLIENT_HEADERS = (
    "X-Workspace-Id", "X-Document-Id", "X-Api-Key", "Anthropic-Version", "Anthropic-Beta",
    "Anthropic-Dangerous-Direct-Browser-Access", "OpenAI-Organization", "OpenAI-Project",
    *(f"X-Stainless-{name}" for name in (
        "Lang", "Package-Version", "OS", "Arch", "Runtime", "Runtime-Version", "Retry-Count", "Timeout", "Async",
        "Read-Timeout", "Helper-Method",
    )),
)  # fmt: skip
"""What the providers' official clients send from browsers; none of it but Anthropic's first two is passed on."""

SHOWN_HEADERS = ("X-Should-Retry", "Request-Id")
"""What those clients look at in an answer."""


def create() -> FastAPI:
    """The ai-proxy app; start it with `python -m common.serve ai-proxy`."""
    return create_app(
        Settings(),
        routes=routes.router,
        internal=routes.internal,
        resources=dependencies.resources,
        subscribers=consumers.subscribers,
        unlimited=("/v1/ai/openai/", "/v1/ai/anthropic/"),
        client_headers=CLIENT_HEADERS,
        shown_headers=SHOWN_HEADERS,
        innermost=[Middleware(routes.NativePaths)],
    )
