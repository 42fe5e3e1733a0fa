"""The decision function, alone and as SQL parameter."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.access import Action, Role, abilities, allows, at_least, roles_allowing

TABLE = {
    "owner": {"read", "comment", "edit", "delete", "invite", "manage", "own"},
    "admin": {"read", "comment", "edit", "delete", "invite", "manage"},
    "editor": {"read", "comment", "edit", "delete"},
    "commenter": {"read", "comment"},
    "viewer": {"read"},
}


@pytest.mark.parametrize("role", Role)
def test_every_role_may_exactly_this(role):
    assert {action.value for action in Action if allows(role, action)} == TABLE[role]
    assert {name for name, may in abilities(role).items() if may} == TABLE[role]


@pytest.mark.parametrize("action", Action)
def test_nobody_without_a_role_may_anything(action):
    assert allows(None, action) is False


@given(st.sampled_from(Role), st.sampled_from(Role), st.sampled_from(Action))
def test_a_stronger_role_may_all_a_weaker_one_may(strong, weak, action):
    if at_least(strong, weak) and allows(weak, action):
        assert allows(strong, action)


@given(st.sampled_from(Role), st.sampled_from(Action))
def test_the_sql_parameter_says_the_same(role, action):
    assert (role.value in roles_allowing(action)) is allows(role, action)
