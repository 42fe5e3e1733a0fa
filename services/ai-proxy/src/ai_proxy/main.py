"""Composition: settings in, app out."""

from fastapi import FastAPI

from common.app import create_app

from . import consumers, dependencies, routes
from .settings import Settings


def create() -> FastAPI:
    """The ai-proxy app; start it with `python -m common.serve ai-proxy`."""
    return create_app(
        Settings(),
        routes=routes.router,
        internal=routes.internal,
        resources=dependencies.resources,
        subscribers=consumers.subscribers,
    )
