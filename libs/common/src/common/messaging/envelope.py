"""The envelope events travel in: CloudEvents 1.0, structured JSON, with extensions for tracing and audit."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Protocol, Self, TypeVar
from uuid import UUID

import orjson
from pydantic import BaseModel, ValidationError

MEDIA_TYPE: Final = "application/cloudevents+json"
EXTENSIONS: Final = ("traceparent", "actor", "sessionid", "clientip", "authmethod", "deviceid", "opid")


class UnreadableEventError(ValueError):
    """The bytes are no envelope of ours, or the data do not fit the event class: no retry will help."""


class Event(Protocol):
    """A frozen event class of `common.contracts`; `type` is `<producer>.<aggregate>.<past tense>.v<n>`."""

    @property
    def type(self) -> str:
        """CloudEvents type."""

    def model_dump(self, *, mode: str, exclude_unset: bool) -> dict[str, Any]:
        """CloudEvents data."""


E = TypeVar("E", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Envelope:
    """One event on its way. `version` counts the events of its aggregate from 1, without a gap."""

    id: UUID
    type: str
    aggregate_id: UUID
    version: int
    time: datetime
    data: Mapping[str, Any]
    extensions: Mapping[str, str | None]

    @property
    def source(self) -> str:
        """The producing service."""
        return self.type.partition(".")[0]

    @property
    def traceparent(self) -> str | None:
        """W3C trace context the event was caused in, or was last handed on with."""
        return self.extensions.get("traceparent")

    def within(self, traceparent: str) -> Self:
        """The same event, handed on as part of this span."""
        return replace(self, extensions={**self.extensions, "traceparent": traceparent})

    def encode(self) -> bytes:
        """Structured-mode JSON (CloudEvents 1.0, JSON format section 3)."""
        return orjson.dumps(
            {
                "specversion": "1.0",
                "id": self.id,
                "source": f"/{self.source}",
                "type": self.type,
                "subject": self.aggregate_id,
                "time": self.time,
                "datacontenttype": "application/json",
                "aggregateversion": self.version,
                **{name: value for name, value in self.extensions.items() if value is not None},
                "data": self.data,
            }
        )

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read an envelope; attributes a later release may add are ignored. Raises `UnreadableEventError`."""
        try:
            members = orjson.loads(body)
            envelope = cls(
                id=UUID(members["id"]),
                type=str(members["type"]),
                aggregate_id=UUID(members["subject"]),
                version=int(members["aggregateversion"]),
                time=datetime.fromisoformat(members["time"]),
                data=dict(members["data"]),
                extensions={name: members.get(name) for name in EXTENSIONS},
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UnreadableEventError(f"not an event envelope: {error!r}") from error
        if members["specversion"] != "1.0" or envelope.version < 1:
            raise UnreadableEventError("not a CloudEvents 1.0 envelope with an aggregate version")
        return envelope


def read(event: Envelope, kind: type[E]) -> E:
    """The data as an event class; members it does not know are ignored. Raises `UnreadableEventError`."""
    try:
        return kind.model_validate(event.data)
    except ValidationError as error:
        # Not the error's own text: it quotes the values.
        fields = ", ".join(".".join(map(str, item["loc"])) for item in error.errors())
        raise UnreadableEventError(f"{event.type} does not fit {kind.__name__}: {fields}") from None
