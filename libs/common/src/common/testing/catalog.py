"""Every event class by type, its committed JSON schemas, and whether one may follow another.

Schemas lie in `libs/common/events/<type>/<revision>.json`; a new revision is an additive change, anything else is a new
type (`.v2`). `make events` writes what is missing, and the AsyncAPI document.
"""

import importlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from common.contracts import Event

FOLDER = Path(__file__).parents[3] / "events"
PRODUCERS = ("ai_proxy", "auth_gateway", "documents", "files")
_WORDS = ("title", "description", "default", "examples")

Schema = dict[str, Any]


def events() -> dict[str, type[Event]]:
    """All event classes that have a type."""
    modules = [importlib.import_module(f"common.contracts.{producer}") for producer in PRODUCERS]
    classes = [item for module in modules for item in vars(module).values() if isinstance(item, type)]
    return {item.type: item for item in classes if issubclass(item, Event) and "type" in vars(item)}


def schema(kind: type[Event]) -> Schema:
    """JSON schema of an event's data."""
    return kind.model_json_schema()


def revisions(type_: str) -> list[Schema]:
    """Committed schemas of a type, oldest first."""
    files = sorted((FOLDER / type_).glob("*.json"), key=lambda file: int(file.stem))
    return [json.loads(file.read_text()) for file in files]


def add_revision(type_: str, new: Schema) -> None:
    """Commit a schema as the next revision of its type."""
    folder = FOLDER / type_
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(new, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    (folder / f"{len(revisions(type_)) + 1}.json").write_text(text)


def breaks(old: Schema, new: Schema) -> list[str]:
    """What about `new` would break a consumer written for `old`, or a new consumer reading old events."""
    before, after = old.get("properties", {}), new.get("properties", {})
    kept = [name for name in before if name in after]
    required, now = set(old.get("required", [])), set(new.get("required", []))
    found = [f"{name} is gone" for name in before if name not in after]
    found += [f"{name} is of another type" for name in kept if _bare(before[name]) != _bare(after[name])]
    found += [f"{name} is not always there any more" for name in kept if name in required - now]
    found += [f"{name} is required, older events lack it" for name in sorted(now - required)]
    return found


def _bare(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _bare(item) for name, item in value.items() if name not in _WORDS}
    return [_bare(item) for item in value] if isinstance(value, list) else value


def example(of: Schema, *, complete: bool) -> dict[str, Any]:
    """Data that fit a schema: only what is required, or everything."""
    names = of.get("properties", {}) if complete else of.get("required", [])
    return {name: _example(of["properties"][name]) for name in names}


def _example(of: Mapping[str, Any]) -> Any:
    if "examples" in of:
        return of["examples"][0]
    if "anyOf" in of:
        return _example(of["anyOf"][0])
    if of["type"] == "array":
        return [_example(of["items"])]
    made = {"uuid": str(uuid4())} if of.get("format") == "uuid" else {}
    return made.get("uuid") or {"string": "text", "integer": 1, "boolean": False, "null": None}[of["type"]]


def asyncapi(version: str, consumers: Mapping[str, list[str]]) -> dict[str, Any]:
    """AsyncAPI 3.0 document of all events; `consumers`: service -> types it wants."""
    found = sorted(events().items())
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "MD Creator events",
            "version": version,
            "description": "CloudEvents 1.0 (structured JSON) over RabbitMQ, or SNS and SQS. At least once, in no "
            "promised order; `aggregateversion` counts the events of an aggregate (`subject`) from 1 without a gap.",
        },
        "channels": {
            type_: {"address": type_, "messages": {"event": {"$ref": f"#/components/messages/{type_}"}}}
            for type_, _ in found
        },
        "operations": dict(_operations(consumers)),
        "components": {
            "messages": {
                type_: {
                    "name": type_,
                    "summary": (kind.__doc__ or "").strip().splitlines()[0],
                    "contentType": "application/cloudevents+json",
                    "payload": schema(kind),
                }
                for type_, kind in found
            }
        },
    }


def _operations(consumers: Mapping[str, list[str]]) -> Iterator[tuple[str, Any]]:
    for type_ in sorted(events()):
        producer = type_.partition(".")[0]
        yield f"{producer}.sends.{type_}", {"action": "send", "channel": {"$ref": f"#/channels/{type_}"}}
        for service, wanted in sorted(consumers.items()):
            if any(type_ == one or (one.endswith("*") and type_.startswith(one[:-1])) for one in wanted):
                yield (
                    f"{service}.receives.{type_}",
                    {"action": "receive", "channel": {"$ref": f"#/channels/{type_}"}},
                )
