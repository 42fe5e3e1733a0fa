"""Event schemas: committed, only ever added to; every consumer reads every revision; AsyncAPI is current."""

import importlib
import json
import os
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest

from common.database import Database
from common.identifiers import uuid7
from common.messaging import Envelope, Inbox
from common.revisions import SERVICES, schema_of
from common.settings import env_prefix
from common.testing import catalog

ASYNCAPI = Path(__file__).parents[3] / "docs" / "asyncapi.json"
UPDATE = bool(os.environ.get("UPDATE_EVENTS"))
EVENTS = catalog.events()
CONSUMERS = [service for service in SERVICES if service != "auth-gateway"]


def subscribers_of(service):
    return importlib.import_module(f"{schema_of(service)}.consumers").subscribers


@pytest.mark.parametrize("type_", EVENTS)
def test_the_newest_committed_schema_is_the_class_and_each_revision_may_follow_the_last(type_):
    current, committed = catalog.schema(EVENTS[type_]), catalog.revisions(type_)
    if committed and committed[-1] != current:
        assert catalog.breaks(committed[-1], current) == [], f"a breaking change: make a new type of {type_}"
    if UPDATE and (not committed or committed[-1] != current):
        catalog.add_revision(type_, current)
        committed = catalog.revisions(type_)
    assert committed, f"{type_} has no committed schema: make events"
    assert committed[-1] == current, f"{type_} changed: make events, review the new revision"
    for old, new in pairwise(committed):
        assert catalog.breaks(old, new) == []


def test_no_committed_schema_is_of_a_type_nobody_has():
    assert {path.name for path in catalog.FOLDER.iterdir()} == set(EVENTS)


def test_names_follow_the_rule():
    for type_, kind in EVENTS.items():
        producer, _aggregate, verb, version = type_.split(".")
        assert producer in SERVICES
        assert verb.endswith("ed")
        assert version == "v1"
        assert kind.__doc__


OLD = {
    "properties": {"a": {"type": "string"}, "b": {"type": "integer", "title": "B"}},
    "required": ["a"],
    "type": "object",
}


def changed(**change):
    new = deepcopy(OLD)
    for name, value in change.items():
        if value is None:
            del new["properties"][name]
        else:
            new["properties"][name] = value
    return new


@pytest.mark.parametrize(
    ("new", "breaking"),
    [
        (OLD, False),
        (changed(c={"type": "string", "default": ""}), False),
        (changed(b={"type": "integer", "title": "Other", "description": "x"}), False),
        (changed(a=None), True),
        (changed(b=None), True),
        (changed(a={"type": "integer"}), True),
        (OLD | {"required": []}, True),
        (changed(c={"type": "string"}) | {"required": ["a", "c"]}, True),
    ],
)
def test_what_breaks(new, breaking):
    assert bool(catalog.breaks(OLD, new)) is breaking


@pytest.mark.parametrize("service", CONSUMERS)
async def test_consumers_read_every_revision_and_what_a_later_one_may_add(environment, service):
    """Teams deploy alone: an older producer's events, and a newer one's with members and types unknown here."""
    schema = schema_of(service)
    database = Database(environment[f"{env_prefix(service)}WORKER_DATABASE_URL"], max_size=2, timeout=5)
    await database.open()
    subscribers = subscribers_of(service)
    inbox = Inbox(database, schema, f"{service}-contracts", subscribers)
    read = 0
    for type_ in EVENTS:
        if not any(subscriber.wants(envelope(type_, {})) for subscriber in subscribers):
            continue
        for revision in catalog.revisions(type_):
            for complete in (False, True):
                data = catalog.example(revision, complete=complete)
                await inbox.apply([envelope(type_, data)])
                await inbox.apply([envelope(type_, {**data, "added_later": {"x": [1]}})])
                read += 2
    later = envelope("documents.document.frozen.v1", {"workspace_id": str(uuid7())})
    await inbox.apply([replace(later, type="documents.document.frozen.v1")])
    await database.close()
    assert read >= 10


def envelope(type_, data):
    return Envelope(uuid7(), type_, uuid7(), 1, datetime.now(UTC), data, {"actor": str(uuid7())})


def test_a_previous_revision_is_among_them():
    assert len(catalog.revisions("auth-gateway.user.updated.v1")) >= 2


def test_the_asyncapi_document_is_current():
    consumers = {
        service: Inbox(None, schema_of(service), service, subscribers_of(service)).types for service in CONSUMERS
    }
    text = json.dumps(catalog.asyncapi("0.1.0", consumers), indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    if UPDATE:
        ASYNCAPI.write_text(text)
    assert ASYNCAPI.exists()
    assert ASYNCAPI.read_text() == text, "run `make events`"
