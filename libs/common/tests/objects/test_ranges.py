"""Ranges and validators as RFC 9110 has them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.objects.errors import RangeUnsatisfiableError
from common.objects.ranges import not_modified, wanted


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("bytes=0-0", (0, 1)),
        ("bytes=0-", (0, 10)),
        ("bytes=3-4", (3, 5)),
        ("bytes=9-99", (9, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-99", (0, 10)),
        ("bytes=-", None),
        ("bytes=4-3", None),
        ("bytes=0-1,3-4", None),
        ("lines=0-1", None),
        ("bytes=a-b", None),
        ("bytes=" + "9" * 5000 + "-", None),
    ],
)
def test_one_range_or_all_of_it(header, expected):
    assert wanted(header, 10) == expected


@pytest.mark.parametrize(("header", "size"), [("bytes=10-", 10), ("bytes=-0", 10), ("bytes=0-", 0), ("bytes=-1", 0)])
def test_behind_the_end(header, size):
    with pytest.raises(RangeUnsatisfiableError) as refused:
        wanted(header, size)
    assert refused.value.headers == {"Content-Range": f"bytes */{size}"}


@given(st.text(max_size=40), st.integers(0, 100))
def test_a_range_lies_within_the_object(text, size):
    try:
        found = wanted(f"bytes={text}", size)
    except RangeUnsatisfiableError:
        return
    assert found is None or 0 <= found[0] < found[1] <= size


@pytest.mark.parametrize(
    ("header", "same"),
    [(None, False), ('"e"', True), ('W/"e"', True), ('"a", "e"', True), ("*", True), ('"x"', False), ("e", False)],
)
def test_if_none_match(header, same):
    assert not_modified(header, '"e"') is same
