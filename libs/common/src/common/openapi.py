"""`make openapi`: write each service's OpenAPI documents, public and internal, where their diff can be reviewed."""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

from common.revisions import SERVICES, schema_of


def documents(service: str) -> dict[str, dict[str, Any]]:
    """File name -> OpenAPI document of a service; needs its environment, opens no connection."""
    app = importlib.import_module(f"{schema_of(service)}.main").create()
    return {"openapi.json": app.openapi(), "openapi.internal.json": app.state.internal_app.openapi()}


def render(document: dict[str, Any]) -> str:
    """Stable text of a document."""
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def main(root: Path) -> None:
    """Write all of them below `root`/services."""
    for service in SERVICES:
        for name, document in documents(service).items():
            (root / "services" / service / name).write_text(render(document))
    sys.stdout.write("written: services/*/openapi.json, openapi.internal.json\n")


if __name__ == "__main__":
    main(Path.cwd())
