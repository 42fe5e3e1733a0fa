"""The committed OpenAPI documents are those the code makes."""

from pathlib import Path

import pytest

from common import openapi
from common.revisions import SERVICES

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("service", SERVICES)
def test_committed_documents_are_current(environment, service):
    for name, document in openapi.documents(service).items():
        committed = (ROOT / "services" / service / name).read_text()
        assert committed == openapi.render(document), f"run `make openapi` and review services/{service}/{name}"
