"""30: presence by itself: who owns a state, what is told of it, and when it ends."""

from hypothesis import given
from hypothesis import strategies as st

from collab.domain.presence import GONE, Entry, read_entries, write_entries
from collab.rooms.presence import PER_MEMBER, REMOTE_SECONDS, Presence

ADA, BEN = {"id": "a", "name": "Ada"}, {"id": "b", "name": "Ben"}


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def said(presence: Presence) -> dict[int, bytes]:
    return {entry.client: entry.state for entry in presence.everybody()}


def test_a_state_belongs_to_the_connection_it_came_by() -> None:
    presence, one, other = Presence(), object(), object()
    assert presence.take(one, ADA, [Entry(1, 1, b"{}")])
    assert [entry.client for entry, _ in presence.news()] == [1]
    assert not presence.take(other, BEN, [Entry(1, 5, b"{}"), Entry(1, 6, GONE)])
    assert not presence.take(other, ADA, [Entry(1, 1, b"{}"), Entry(1, 6, GONE)]), "an echo"
    assert presence.take(other, ADA, [Entry(1, 7, b'{"x":1}')]), "the same person in another tab takes it over"
    presence.leave(one)
    assert 1 in said(presence)
    presence.leave(other)
    assert said(presence) == {}
    assert [entry for entry, _ in presence.news()] == [Entry(1, 7, GONE)]


def test_one_connection_has_few_clients_and_gets_its_places_back() -> None:
    presence, owner = Presence(), object()
    presence.take(owner, ADA, [Entry(n, 1, b"{}") for n in range(50)])
    assert len(presence) == PER_MEMBER
    presence.take(owner, ADA, [Entry(n, 2, GONE) for n in range(50)])
    presence.take(owner, ADA, [Entry(n, 1, b"{}") for n in range(100, 150)])
    assert len(presence) == PER_MEMBER


def test_clients_of_a_silent_process_are_forgotten_and_that_is_told() -> None:
    clock = Clock()
    presence = Presence(clock)
    assert presence.hear([(Entry(9, 3, b"{}"), "a")]) == [Entry(9, 3, b"{}")]
    clock.now = REMOTE_SECONDS - 1
    assert presence.hear([(Entry(9, 3, b"{}"), "a")]) == []
    clock.now += REMOTE_SECONDS - 1
    assert presence.expire() == []
    clock.now += 2
    assert presence.expire() == [Entry(9, 3, GONE)]
    assert said(presence) == {}


def test_an_old_farewell_does_not_remove_a_newer_state() -> None:
    presence = Presence()
    presence.hear([(Entry(9, 3, b"{}"), "a")])
    assert presence.hear([(Entry(9, 2, GONE), "")]) == []
    assert presence.hear([(Entry(9, 3, GONE), "")]) == [Entry(9, 3, GONE)]


entries = st.builds(Entry, st.integers(0, 2**32), st.integers(0, 2**32), st.binary(max_size=50))


@given(st.lists(entries, max_size=20))
def test_entries_are_read_as_they_were_written(some: list[Entry]) -> None:
    assert read_entries(write_entries(some)) == some
