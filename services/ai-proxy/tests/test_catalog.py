"""Who is asked for what."""

from types import SimpleNamespace

import pytest

from ai_proxy.domain.prices import PriceTable
from ai_proxy.domain.wires import ANTHROPIC, OPENAI
from ai_proxy.errors import ProviderNotFoundError
from ai_proxy.providers.catalog import read_catalog


def catalog(**models):
    providers = {
        name: SimpleNamespace(wire="openai", base_url="http://x", models=listed, fallbacks={}, stream_usage=True)
        for name, listed in models.items()
    }
    return read_catalog(providers, {}, PriceTable.load({}, None))


def test_what_models_there_are_is_asked_of_the_first_provider_also_if_it_lists_some():
    found = catalog(one=["dev-small"], two=["llama3"])
    assert found.of_model(OPENAI, "").name == "one"
    with pytest.raises(ProviderNotFoundError):
        found.of_model(ANTHROPIC, "")


def test_a_model_is_asked_for_where_it_is_listed_else_where_none_is():
    found = catalog(one=[], two=["llama3"])
    assert found.of_model(OPENAI, "llama3").name == "two"
    assert found.of_model(OPENAI, "gpt-5").name == "one"
    with pytest.raises(ProviderNotFoundError):
        catalog(two=["llama3"]).of_model(OPENAI, "gpt-5")
