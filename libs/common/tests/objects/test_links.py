"""Signed URLs: what was signed comes back, and nothing else does."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.objects import UrlExpiredError, UrlInvalidError, UrlMethodError
from common.objects.links import Download, Links, ObjectWrite, PartWrite

LINKS = Links("https://x/v1", (b"new" * 11, b"old" * 11))
PERMITS = [
    ObjectWrite("a/b", 5, "ab" * 32),
    PartWrite("a/b", "0" * 32, 3, 64),
    Download("a/b", "text/plain", "attachment; filename*=UTF-8''%C3%A4"),
]
METHODS = {ObjectWrite: "PUT", PartWrite: "PUT", Download: "GET"}


@pytest.mark.parametrize("permit", PERMITS)
def test_what_was_signed_comes_back(permit):
    url = LINKS.url(permit, 60)
    assert url.startswith("https://x/v1/")
    read, expires = LINKS.permit(url.rpartition("/")[2], METHODS[type(permit)])
    assert read == permit
    assert 55 < expires - time.time() <= 60


@pytest.mark.parametrize("permit", PERMITS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "POST", "DELETE"])
def test_a_url_is_for_one_method(permit, method):
    token = LINKS.token(permit, int(time.time()) + 60)
    if method == METHODS[type(permit)] or (method == "HEAD" and isinstance(permit, Download)):
        assert LINKS.permit(token, method)
        return
    with pytest.raises(UrlMethodError) as refused:
        LINKS.permit(token, method)
    assert METHODS[type(permit)] in refused.value.headers["Allow"]


def test_it_expires():
    now = int(time.time())
    with pytest.raises(UrlExpiredError):
        LINKS.permit(LINKS.token(PERMITS[0], now), "PUT")


def test_all_keys_are_honoured_and_no_other():
    old = Links("", LINKS.keys[1:]).token(PERMITS[0], int(time.time()) + 60)
    assert LINKS.permit(old, "PUT")
    with pytest.raises(UrlInvalidError):
        Links("", LINKS.keys[:1]).permit(old, "PUT")


@given(st.data())
def test_no_character_may_be_changed(data):
    token = LINKS.token(PERMITS[2], 2**40)
    place = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.sampled_from("ABCxyz019-_=+/ !"))
    changed = token[:place] + other + token[place + 1 :]
    if changed != token:
        with pytest.raises(UrlInvalidError):
            LINKS.permit(changed, "GET")


@given(st.text(max_size=200))
def test_nothing_else_is_a_token(text):
    with pytest.raises(UrlInvalidError):
        LINKS.permit(text, "GET")


def test_what_is_put_before_or_behind_is_not_skipped():
    token = LINKS.token(PERMITS[0], 2**40)
    for other in (f"{token}=", f"{token}\n", f".{token}", f"{token}AAAA"):
        with pytest.raises(UrlInvalidError):
            LINKS.permit(other, "PUT")
