"""Settings: the service's own variable wins, a missing one is named, secrets do not show."""

import pytest
from pydantic import ValidationError

from common.messaging.aws import AwsBus
from common.messaging.rabbit import RabbitBus
from common.platform import Platform
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
            assert field.is_required() or field.default is None, name


TOPIC = "arn:aws:sns:eu-central-1:123456789012:mdcreator-events"


def test_the_bus_is_the_one_that_is_named(environment, monkeypatch):
    assert isinstance(Platform(Settings()).bus, RabbitBus)
    monkeypatch.delenv("MDC_AMQP_URL")
    monkeypatch.setenv("MDC_EVENTS_TOPIC_ARN", TOPIC)
    assert isinstance(Platform(Settings()).bus, AwsBus)


@pytest.mark.parametrize("values", [{"amqp_url": None}, {"events_topic_arn": TOPIC}, {"events_topic_arn": "nonsense"}])
def test_no_bus_two_buses_and_a_wrong_one_stop_the_start(environment, values):
    with pytest.raises(ValidationError, match=r"(?i)events_topic_arn"):
        Settings(**values)
