"""Composition: settings in, app out."""

from fastapi import FastAPI

from common.app import create_app

from . import consumers, dependencies, routes
from .settings import Settings


def create() -> FastAPI:
    """The files app; start it with `python -m common.serve files`."""
    return create_app(
        Settings(),
        routes=routes.router,
        internal=routes.internal,
        resources=dependencies.resources,
        subscribers=consumers.subscribers,
        unlimited=(dependencies.OBJECTS + "/",),
    )
