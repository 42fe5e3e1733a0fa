"""The providers there are, by settings: who is asked for a model, with which key, and who instead."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..domain.prices import Price, PriceTable
from ..domain.wires import WIRES, Wire
from ..errors import ProviderNotFoundError


@dataclass(frozen=True, slots=True)
class Provider:
    """One provider; `key` is ours there, empty: it wants none, or there is none."""

    name: str
    wire: Wire
    base_url: str
    key: str = field(default="", repr=False)
    models: frozenset[str] = frozenset()
    fallbacks: Mapping[str, str] = field(default_factory=dict)
    stream_usage: bool = True


@dataclass(frozen=True)
class Catalog:
    """All of them, and what their models cost."""

    providers: Mapping[str, Provider]
    prices: PriceTable

    def get(self, name: str) -> Provider:
        """By name. Raises `ProviderNotFoundError`."""
        try:
            return self.providers[name]
        except KeyError:
            raise ProviderNotFoundError from None

    def of_model(self, wire: Wire, model: str) -> Provider:
        """Who is asked for a model in a format: who lists it, else who lists none. Raises `ProviderNotFoundError`.

        What models there are (no `model`) is asked of the first one.
        """
        able = [one for one in self.providers.values() if one.wire is wire]
        for one in able:
            if model in one.models or not model:
                return one
        for one in able:
            if not one.models:
                return one
        raise ProviderNotFoundError(f"nobody has {model[:100]}" if able else None)

    def any_of_model(self, model: str) -> Provider:
        """Who is asked for a model when the format does not matter. Raises `ProviderNotFoundError`."""
        for one in self.providers.values():
            if model in one.models:
                return one
        return self.of_model(WIRES["anthropic" if model.startswith("claude") else "openai"], model)

    def fallback(self, provider: Provider, model: str) -> tuple[Provider, str] | None:
        """Who and what is asked instead, in the same format."""
        instead = provider.fallbacks.get(model)
        return (self.of_model(provider.wire, instead), instead) if instead else None

    def models(self) -> list[tuple[str, str]]:
        """Provider and name of every model there is: those listed, and those of the price table nobody lists."""
        found = [(one.name, model) for one in self.providers.values() for model in sorted(one.models)]
        listed = {model for _, model in found}
        for one in self.providers.values():
            if not one.models:
                names = [
                    name for name in self.prices.models if name.startswith("claude") == (one.wire.name == "anthropic")
                ]
                found += [(one.name, name) for name in names if name not in listed]
        return found

    def dearest(self, models: Sequence[str]) -> list[Price]:
        """Prices of some models."""
        return [self.prices.of(model) for model in models]


def read_catalog(providers: Mapping[str, Any], keys: Mapping[str, str], prices: PriceTable) -> Catalog:
    """From settings (`ProviderSettings` by name) and our keys."""
    return Catalog(
        {
            name: Provider(
                name=name,
                wire=WIRES[one.wire],
                base_url=one.base_url.rstrip("/"),
                key=keys.get(name, ""),
                models=frozenset(one.models),
                fallbacks=one.fallbacks,
                stream_usage=one.stream_usage,
            )
            for name, one in providers.items()
        },
        prices,
    )
