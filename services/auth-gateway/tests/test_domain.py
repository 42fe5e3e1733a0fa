"""Rules without any server: role changes, refresh tokens."""

from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auth_gateway.domain import RefreshToken, may_configure, may_invite_as, may_remove, may_set_role
from common.access import Role

KEY = "k" * 32
ROLES = [role.value for role in Role]
tokens = st.builds(RefreshToken, st.uuids(), st.integers(1, 2**62))


@pytest.mark.parametrize("current", ROLES)
@pytest.mark.parametrize("wanted", ROLES)
def test_owners_set_every_role_admins_all_but_owners_others_none(current, wanted):
    assert may_set_role("owner", current, wanted)
    assert may_set_role("admin", current, wanted) == ("owner" not in (current, wanted))
    assert not any(may_set_role(actor, current, wanted) for actor in ("editor", "commenter", "viewer", "guest"))


@pytest.mark.parametrize("current", ROLES)
def test_everybody_may_leave_and_only_the_stronger_remove(current):
    assert all(may_remove(actor, current, oneself=True) for actor in ROLES)
    removing = {actor for actor in ROLES if may_remove(actor, current, oneself=False)}
    assert removing == ({"owner"} if current == "owner" else {"owner", "admin"})


@pytest.mark.parametrize("role", ROLES)
def test_nobody_invites_above_the_own_role(role):
    inviting = {actor for actor in ROLES if may_invite_as(actor, role)}
    assert inviting == ({"owner"} if role == "owner" else {"owner", "admin"})


@pytest.mark.parametrize(
    ("fields", "allowed"),
    [
        ((), {"owner", "admin"}),
        (("name", "trash_days", "ai_models"), {"owner", "admin"}),
        (("name", "allowed_domains"), {"owner"}),
        (("mfa_required",), {"owner"}),
    ],
)
def test_only_owners_set_who_may_join_and_how_members_sign_in(fields, allowed):
    assert {actor for actor in ROLES if may_configure(actor, fields)} == allowed


@given(tokens)
def test_a_refresh_token_parses_back_and_only_with_the_same_key(token):
    text = token.render(KEY)
    assert RefreshToken.parse(text, KEY) == token
    assert RefreshToken.parse(text, "another key") is None
    assert token.successor().render(KEY) == RefreshToken(token.session_id, token.generation + 1).render(KEY)


@given(tokens, st.integers(0, 500), st.characters(min_codepoint=0x21, max_codepoint=0x7E))
def test_a_refresh_token_changed_anywhere_is_none(token, at, replacement):
    text = token.render(KEY)
    at %= len(text)
    changed = text[:at] + replacement + text[at + 1 :]
    assert (RefreshToken.parse(changed, KEY) is None) == (changed != text)


@pytest.mark.parametrize("text", ["", "mdr_", "mdr_..", "mdr_x.1.y", f"mdr_{uuid4().hex}.{'9' * 480}.x", "é.1.x"])
def test_garbage_is_no_refresh_token(text):
    assert RefreshToken.parse(text, KEY) is None


def test_proof_covers_the_generation():
    session = UUID(int=1)
    first, second = RefreshToken(session, 1).render(KEY), RefreshToken(session, 2).render(KEY)
    assert RefreshToken.parse(first.replace(".1.", ".2."), KEY) is None
    assert first.rsplit(".", 1)[1] != second.rsplit(".", 1)[1]
