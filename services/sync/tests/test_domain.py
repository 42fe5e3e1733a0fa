"""The log's decisions, without a database."""

import itertools
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.identifiers import uuid7
from common.messaging import UnreadableEventError
from sync import domain
from sync.domain import GENESIS, Checked, Logged, Scope, Tally

from .conftest import document_event, member_event

ROOT = Scope("root", uuid7())


@given(st.permutations(range(1, 8)), st.data())
def test_whatever_the_order_and_the_batches_all_are_applied_once_in_order(order, data):
    document = uuid7()
    events = {version: document_event(document, version, ROOT.id) for version in order}
    last, parked, applied = 0, [], []
    arrivals = [version for version in order for _ in range(data.draw(st.integers(1, 3)))]
    while arrivals:
        size = data.draw(st.integers(1, len(arrivals)))
        batch, arrivals = arrivals[:size], arrivals[size:]
        admission = domain.admit(last, [*parked, *(events[version] for version in batch)])
        applied += [event.version for event in admission.apply]
        last, parked = applied[-1] if applied else 0, admission.park
    assert applied == list(range(1, 8))
    assert parked == []


def test_what_waited_is_logged_after_what_arrived():
    one, other = uuid7(), uuid7()
    events = {(id_, version): document_event(id_, version, ROOT.id) for id_ in (one, other) for version in (1, 2, 3)}
    admitted = {id_: [events[id_, version] for version in (1, 2, 3)] for id_ in (one, other)}
    arrived = [events[one, 2], events[other, 1], events[one, 1], events[other, 3]]  # and 3 of one had been waiting
    ordered = domain.in_order_of_arrival(admitted, arrived)
    assert [(event.aggregate_id, event.version) for event in ordered] == [
        (one, 1), (one, 2), (other, 1), (other, 2), (other, 3), (one, 3),
    ]  # fmt: skip


def test_a_gap_parks_everything_behind_it():
    document = uuid7()
    events = [document_event(document, version, ROOT.id) for version in (5, 3, 1, 5)]
    admission = domain.admit(1, events)
    assert [event.version for event in admission.park] == [3, 5]
    assert admission.apply == []
    assert sorted(event.version for event in admission.known) == [1, 5]


def test_where_events_belong():
    workspace, user = uuid7(), uuid7()
    document = document_event(uuid7(), 1, workspace)
    assert domain.scopes_of(document) == [Scope("root", workspace)]
    assert domain.scopes_of(member_event(workspace, user, 1)) == [Scope("root", workspace), Scope("user", user)]
    before = replace(document, data={**document.data, "previous_root_id": str(user)})
    assert domain.scopes_of(before) == [Scope("root", workspace), Scope("root", user)], "also where it went away from"
    assert domain.left_by(before) == Scope("root", user)
    assert domain.personal(Logged(Scope("root", workspace), before, left=False))["data"] == before.data
    left = domain.personal(Logged(Scope("root", user), before, left=True))
    assert "title" not in left["data"]
    assert str(workspace) not in str(left), "nor where to"
    assert domain.scopes_of(replace(document, data={"user_id": str(user)})) == [Scope("user", user)]


@pytest.mark.parametrize("data", [{}, {"user_id": 7}, {"access_root_id": "nowhere"}])
def test_an_event_that_belongs_nowhere_is_unreadable(data):
    with pytest.raises(UnreadableEventError):
        domain.scopes_of(replace(document_event(uuid7(), 1, uuid7()), data=data))


def rows_of(count):
    """A chain as the database would return it."""
    seq, previous, rows = 0, GENESIS, []
    for version in range(1, count + 1):
        event, salt = document_event(uuid7(), version, ROOT.id), bytes([version] * 16)
        personal = domain.personal(Logged(ROOT, event, left=False))
        entry = domain.append(ROOT, seq, previous, event, datetime.now(UTC), domain.commitment(salt, personal))
        seq, previous = entry.seq, entry.hash
        rows.append(entry._asdict() | {"salt": salt, "personal": personal})
    return rows


START = Checked(0, GENESIS, 0, None)


def test_an_untouched_chain_holds_also_in_parts():
    rows = rows_of(6)
    whole = domain.check(ROOT, START, rows)
    assert (whole.seq, whole.hash, whole.erased, whole.broken_at) == (6, rows[-1]["hash"], 0, None)
    assert domain.check(ROOT, domain.check(ROOT, START, rows[:2]), rows[2:]) == whole


def test_personal_fields_can_be_erased_without_breaking_it():
    rows = rows_of(4)
    rows[1] |= {"salt": None, "personal": None}
    assert domain.check(ROOT, START, rows)[2:] == (1, None)


CHANGES = {
    "type": "x", "aggregate_version": 9, "event_id": uuid7(), "aggregate_id": uuid7(), "hash": bytes(32),
    "occurred_at": datetime(2020, 1, 1, tzinfo=UTC), "recorded_at": datetime(2020, 1, 1, tzinfo=UTC),
    "commitment": bytes(32), "salt": bytes(16), "personal": {"actor": None}, "seq": 7,
}  # fmt: skip


@pytest.mark.parametrize("field", CHANGES)
def test_any_changed_field_is_found_where_it_is(field):
    rows = rows_of(4)
    rows[2][field] = CHANGES[field]
    assert domain.check(ROOT, START, rows).broken_at == 3


def test_missing_swapped_and_foreign_entries_are_found():
    rows = rows_of(4)
    assert domain.check(ROOT, START, [rows[0], *rows[2:]]).broken_at == 2
    assert domain.check(ROOT, START, [rows[1], rows[0]]).broken_at == 1
    assert domain.check(Scope("root", uuid7()), START, rows).broken_at == 1
    assert domain.check(ROOT, START, [*rows[:3], *rows_of(4)[3:]]).broken_at == 4


def test_heads_are_the_newest_of_each_in_each_scope():
    document, workspace, elsewhere = uuid7(), uuid7(), uuid7()
    events = [document_event(document, version, workspace) for version in (1, 2, 3)]
    events[2] = replace(events[2], type="documents.document.trashed.v1")
    moved = document_event(document, 4, elsewhere, previous_root_id=str(workspace))
    member = member_event(workspace, uuid7(), 2, removed=True)
    session = replace(events[0], type="auth-gateway.session.opened.v1")
    placed = [
        Logged(scope, event, scope == domain.left_by(event))
        for event in (*events, member, session, moved)
        for scope in domain.scopes_of(event)
    ]
    found = domain.heads(zip(placed, itertools.count(1)))
    here = found[Scope("root", workspace), "document", document]
    there = found[Scope("root", elsewhere), "document", document]
    assert (here["gone"], here["reason"], here["title"], here["data"], here["version"]) == (True, "moved", None, {}, 4)
    assert (there["gone"], there["title"], there["version"]) == (False, "T4", 4)
    before = domain.heads(zip(placed[:3], itertools.count(1)))[Scope("root", workspace), "document", document]
    assert (before["gone"], before["reason"], before["seq"]) == (True, "trashed", 3)
    purged = replace(events[2], type="documents.document.purged.v1")
    [gone] = domain.heads([(Logged(Scope("root", workspace), purged, left=False), 4)]).values()
    assert (gone["gone"], gone["reason"], gone["title"], gone["content_hash"], gone["data"]) == (
        True, "purged", None, None, {},
    )  # fmt: skip
    members = [row for key, row in found.items() if key.entity == "member"]
    assert {row["gone"] for row in members} == {True}
    assert {row["scope_kind"] for row in members} == {"root", "user"}, "also in the user's own scope"
    assert {key.entity for key in found} == {"document", "member"}


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 2**64 - 1)), max_size=20))
def test_a_tally_kept_step_by_step_is_that_of_what_is_held(changes):
    held, tally, ids = {}, Tally(), [uuid7() for _ in range(4)]
    for at, (gone, checksum) in enumerate(changes):
        id_, row = ids[at % 4], {"gone": gone, "checksum": domain.signed(checksum)}
        tally = domain.recount(tally, held.get(id_), row)
        held[id_] = row
    living = [row["checksum"] for row in held.values() if not row["gone"]]
    assert tally == (len(living), sum(living) % 2**64)
    assert domain.hexadecimal(domain.signed(tally.sum)) == f"{tally.sum:016x}"
