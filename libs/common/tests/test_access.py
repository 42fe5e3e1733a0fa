"""The decision function, alone and as SQL parameter; roles at access roots."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.access import (
    Action,
    Membership,
    Role,
    Root,
    abilities,
    allows,
    at_least,
    role_at,
    roles_allowing,
    strongest,
)

TABLE = {
    "owner": {"enter", "read", "comment", "edit", "delete", "invite", "manage", "own"},
    "admin": {"enter", "read", "comment", "edit", "delete", "invite", "manage"},
    "editor": {"enter", "read", "comment", "edit", "delete"},
    "commenter": {"enter", "read", "comment"},
    "viewer": {"enter", "read"},
    "guest": {"enter"},
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


HERE, USER, TEAM = (UUID(int=number) for number in (1, 2, 3))
FOLDER, INNER, DEEP = (UUID(int=number) for number in (10, 11, 12))


def root(id_, parent, *, inherits=True, removed=False, **grants):
    principals = {"user": USER, "team": TEAM}
    given = {principals[name]: role for name, role in grants.items()}
    return Root(id_, HERE, parent, inherits, given, removed)


@pytest.mark.parametrize(
    ("member", "roots", "at", "role"),
    [
        ("editor", [], HERE, "editor"),
        ("guest", [], HERE, None),
        (None, [], HERE, None),
        ("editor", [root(FOLDER, HERE)], FOLDER, "editor"),
        ("editor", [root(FOLDER, HERE, inherits=False)], FOLDER, None),
        ("owner", [root(FOLDER, HERE, inherits=False)], FOLDER, None),
        ("viewer", [root(FOLDER, HERE, user="editor")], FOLDER, "editor"),
        ("editor", [root(FOLDER, HERE, user="viewer")], FOLDER, "editor"),
        ("editor", [root(FOLDER, HERE, inherits=False, user="viewer")], FOLDER, "viewer"),
        ("guest", [root(FOLDER, HERE, team="commenter")], FOLDER, "commenter"),
        (None, [root(FOLDER, HERE, user="owner", team="owner")], FOLDER, None),
        ("guest", [root(FOLDER, HERE, inherits=False, user="editor"), root(INNER, FOLDER)], INNER, "editor"),
        ("guest", [root(FOLDER, HERE, user="editor"), root(INNER, FOLDER, inherits=False)], INNER, None),
        ("viewer", [root(FOLDER, HERE), root(INNER, FOLDER, team="admin"), root(DEEP, INNER)], DEEP, "admin"),
        ("editor", [root(FOLDER, HERE, removed=True)], FOLDER, None),
        ("editor", [root(FOLDER, HERE, removed=True), root(INNER, FOLDER, user="viewer")], INNER, "viewer"),
        ("editor", [root(INNER, FOLDER)], INNER, None),
        ("editor", [], FOLDER, None),
    ],
)
def test_the_role_at_a_root_is_the_strongest_that_reaches_it(member, roots, at, role):
    memberships = {HERE: Membership(member, {TEAM})} if member else {}
    assert role_at(at, USER, memberships, {one.id: one for one in roots}) == role


def test_the_strongest_of_no_roles_is_none():
    assert strongest([]) is None
    assert strongest(["viewer", "admin", "editor"]) == "admin"
