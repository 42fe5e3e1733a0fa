"""Composition: settings in, app out."""

from fastapi import FastAPI

from common.app import create_app

from . import consumers, dependencies, routes
from .rooms import Socket
from .settings import Settings


def create() -> FastAPI:
    """The collab app; start it with `python -m common.serve collab`."""
    app = create_app(
        Settings(),
        routes=routes.router,
        internal=routes.internal,
        resources=dependencies.resources,
        subscribers=consumers.subscribers,
    )
    app.state.websockets = Socket
    return app
