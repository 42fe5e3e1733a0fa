"""Settings: the service's own variable wins, a missing one is named, secrets do not show."""

import pytest
from pydantic import ValidationError

from documents.settings import Settings


def test_own_prefix_wins_over_the_shared_one(environment, monkeypatch):
    monkeypatch.setenv("MDC_TRUSTED_HOPS", "2")
    assert Settings().trusted_hops == 2
    monkeypatch.setenv("DOCUMENTS_TRUSTED_HOPS", "3")
    assert Settings().trusted_hops == 3


@pytest.mark.parametrize("name", ["DOCUMENTS_DATABASE_URL", "MDC_REDIS_URL", "DOCUMENTS_SERVICE_KEY"])
def test_a_missing_variable_stops_the_start_by_name(environment, monkeypatch, name):
    monkeypatch.delenv(name)
    with pytest.raises(ValidationError) as error:
        Settings()
    assert name.partition("_")[2].lower() in str(error.value)


def test_secrets_do_not_show(environment):
    shown = repr(Settings())
    for name in ("DOCUMENTS_DATABASE_URL", "MDC_REDIS_URL", "DOCUMENTS_SERVICE_KEY"):
        assert environment[name] not in shown


def test_every_field_is_described_and_no_secret_has_a_default():
    for name, field in Settings.model_fields.items():
        assert field.description, name
        if "Secret" in str(field.annotation):
            assert field.is_required(), name
