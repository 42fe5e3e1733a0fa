"""The committed OpenAPI documents are those the code makes; `make openapi` (UPDATE_OPENAPI=1) writes them anew."""

import os
from pathlib import Path

import pytest

from common import openapi
from common.revisions import SERVICES

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("service", SERVICES)
def test_committed_documents_are_current(environment, service):
    for name, document in openapi.documents(service).items():
        path = ROOT / "services" / service / name
        if os.environ.get("UPDATE_OPENAPI") == "1":
            path.write_text(openapi.render(document))
        assert path.read_text() == openapi.render(document), f"run `make openapi`, review services/{service}/{name}"
