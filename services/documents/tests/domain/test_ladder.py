"""The conflict ladder, by itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from documents.domain import ladder
from documents.domain.ladder import Known, Step

HASHES = st.sampled_from("abc")


@pytest.mark.parametrize(
    ("current", "proposed", "base", "expected"),
    [
        ("a", "a", None, Step.NOTHING),
        ("a", "a", "b", Step.NOTHING),
        ("a", "b", None, Step.COPY),
        ("a", "b", "a", Step.REPLACE),
        ("a", "b", "b", Step.NOTHING),
        ("a", "b", "c", Step.MERGE),
    ],
)
def test_each_rung(current, proposed, base, expected):
    assert ladder.step(current, proposed, base) is expected


@given(HASHES, HASHES, st.none() | HASHES)
def test_a_text_that_is_new_is_never_dropped_and_never_overwrites_what_it_does_not_know(current, proposed, base):
    step = ladder.step(current, proposed, base)
    if step is Step.NOTHING:
        assert proposed in (current, base)
    if step is Step.REPLACE:
        assert base == current


V = [Known("a", 1), Known("b", 3)]


@pytest.mark.parametrize(
    ("version", "hash_", "known", "expected"),
    [
        (3, "b", V, V[1]),
        (5, "b", V, V[1]),
        (2, "a", V[:1], V[0]),
        (3, None, V, V[1]),
        (3, "a", V, V[0]),
        (99, "a", V, V[0]),
        (3, "z", V, None),
        (0, None, [], None),
        (1, "z", [Known("a", 1), Known("z", None)], Known("z", None)),
    ],
)
def test_which_text_an_update_was_made_from(version, hash_, known, expected):
    assert ladder.base_of(version, hash_, known) == expected


@pytest.mark.parametrize(
    ("content_version", "base", "expected"), [(1, None, True), (2, 2, True), (2, 3, True), (3, 2, False)]
)
def test_deletions_give_way_to_edits_nobody_had_seen(content_version, base, expected):
    assert ladder.deletes(content_version, base) is expected
