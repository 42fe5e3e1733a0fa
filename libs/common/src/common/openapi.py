"""Each service's OpenAPI documents, public and internal, as they are committed for review (`make openapi`)."""

import importlib
import json
from typing import Any

from common.revisions import schema_of


def documents(service: str) -> dict[str, dict[str, Any]]:
    """File name -> OpenAPI document of a service; needs its environment, opens no connection."""
    app = importlib.import_module(f"{schema_of(service)}.main").create()
    return {"openapi.json": app.openapi(), "openapi.internal.json": app.state.internal_app.openapi()}


def render(document: dict[str, Any]) -> str:
    """Stable text of a document."""
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
