"""Frozen event classes, one module per producing service; additive change only."""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Event(BaseModel):
    """Base of every event: ids, versions, hashes, sizes, titles and names; never bodies, secrets or addresses."""

    model_config = ConfigDict(frozen=True)
    type: ClassVar[str]
    """CloudEvents type: `<producer>.<aggregate>.<past tense>.v<n>`."""
