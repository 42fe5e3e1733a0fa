"""Alignment of two sequences: right, minimal where small, bounded where hostile."""

import inspect
import random
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from documents.domain.matching import Budget, Change, changes, common_prefix, common_suffix

PROPERTY = settings(deadline=None, max_examples=300, database=None)
ITEMS = st.lists(st.integers(0, 3), max_size=40)
SHORT = st.lists(st.integers(0, 2), max_size=8)
SECONDS = 2.0


def check_alignment(old, new, found):
    """Between changes the items are equal, there is at least one, and no change is empty."""
    old_at = new_at = 0
    for change in found:
        assert old[old_at : change.old_start] == new[new_at : change.new_start]
        assert old_at == 0 or change.old_start > old_at
        assert change.old_end > change.old_start or change.new_end > change.new_start
        old_at, new_at = change.old_end, change.new_end
    assert old[old_at:] == new[new_at:]


def longest_common(old, new):
    row = [0] * (len(new) + 1)
    for item in old:
        above = row[:]
        for at, other in enumerate(new):
            row[at + 1] = above[at] + 1 if item == other else max(above[at + 1], row[at])
    return row[-1]


def matched(old, found):
    return len(old) - sum(change.old_end - change.old_start for change in found)


@PROPERTY
@given(ITEMS, ITEMS)
def test_what_is_not_changed_is_equal(old, new):
    check_alignment(old, new, changes(old, new))


@PROPERTY
@given(SHORT, SHORT)
def test_small_differences_are_minimal(old, new):
    assert matched(old, changes(old, new)) == longest_common(old, new)


@PROPERTY
@given(ITEMS, ITEMS, st.integers(0, 60))
def test_an_exhausted_budget_gives_larger_changes_but_right_ones(old, new, steps):
    check_alignment(old, new, changes(old, new, Budget(steps)))


@PROPERTY
@given(ITEMS, ITEMS, st.integers(0, 40), st.integers(0, 40))
def test_common_runs_are_counted_to_the_first_difference(left, right, at, other):
    at, other = min(at, len(left)), min(other, len(right))
    ahead = common_prefix(left, right, at, other)
    behind = common_suffix(left, right, at, other)
    assert left[at : at + ahead] == right[other : other + ahead]
    assert left[at + ahead : at + ahead + 1] != right[other + ahead : other + ahead + 1] or len(left) == at + ahead
    assert left[at - behind : at] == right[other - behind : other]
    assert behind == min(at, other) or left[at - behind - 1] != right[other - behind - 1]


@pytest.mark.parametrize("size", [15, 16, 17, 100, 1000, 4097])
def test_common_runs_longer_than_a_few_items(size):
    items = list(range(size))
    other = [*items, "x"]
    assert common_prefix(items, other) == size
    assert common_prefix([*items, "y"], other) == size
    assert common_suffix(["y", *items], ["x", *items]) == size
    assert common_prefix(items, other, limit=size - 3) == size - 3


def test_an_addition_among_equal_items_is_put_last():
    assert changes(list("aab"), list("aaab")) == [Change(2, 2, 2, 3)]
    assert changes(list("aaab"), list("aab")) == [Change(2, 3, 2, 2)]


def test_a_replaced_item_beside_an_equal_one_is_one_change():
    assert changes(list("xaay"), list("xZay")) == [Change(1, 2, 1, 2)]
    assert changes(list("xaay"), list("xaZy")) == [Change(2, 3, 2, 3)]
    assert changes(list("pxaay"), list("qxZay")) == [Change(0, 1, 0, 1), Change(2, 3, 2, 3)]
    assert changes(list("pxaayr"), list("qxaZys")) == [Change(0, 1, 0, 1), Change(3, 4, 3, 4), Change(5, 6, 5, 6)]


def test_many_edits_among_blank_lines_are_found_one_by_one():
    old = [text for number in range(400) for text in (f"line {number}", "")]
    new = [f"{text}!" if text and int(text[5:]) % 5 == 0 else text for text in old]
    found = changes(old, new)
    assert len(found) == 80
    assert matched(old, found) == len(old) - 80


def test_every_line_edited_in_place_keeps_the_blank_lines():
    old = [text for number in range(5000) for text in (f"line {number}", "")]
    new = [f"{text}!" if text else text for text in old]
    assert matched(old, changes(old, new)) == 5000


def test_a_moved_block_keeps_the_longer_part_in_place():
    block, rest = [f"b{number}" for number in range(30)], [f"r{number}" for number in range(100)]
    assert matched(block + rest, changes(block + rest, rest + block)) == 100


def hostile():
    some = random.Random(1)
    many = 500_000
    unique = [str(number) for number in range(many // 2)]
    nested: list[str] = []
    for number in range(2000):
        nested = [f"k{number}", *nested, f"k{number}"]
    return {
        "one item, far edits": (["a"] * many, ["x", *["a"] * (many - 2), "y"]),
        "nothing in common": (["a"] * many, ["b"] * many),
        "all blank": ([""] * many, ["", "x"] + [""] * many),
        "alternating, shifted": (["a", "b"] * many, ["b", "a"] * many),
        "alternating, other rhythm": (["a", "b"] * many, ["a", "a", "b"] * many),
        "two kinds at random": (some.choices("ab", k=many), some.choices("ab", k=many)),
        "fifty kinds at random": (some.choices(range(50), k=many), some.choices(range(50), k=many)),
        "shuffled": (unique, some.sample(unique, len(unique))),
        "reversed": (unique, unique[::-1]),
        "nested anchors": (nested, nested[1:] + nested[:1]),
    }


HOSTILE = hostile()


@pytest.mark.parametrize(("old", "new"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_input_is_aligned_in_bounded_time_and_depth(old, new):
    depth = sys.getrecursionlimit()
    started = time.process_time()
    sys.setrecursionlimit(len(inspect.stack(context=0)) + 50)
    try:
        found = changes(old, new)
    finally:
        sys.setrecursionlimit(depth)
    assert time.process_time() - started < SECONDS
    check_alignment(old, new, found)
