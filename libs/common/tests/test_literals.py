"""Values in messages of several statements: written as psycopg writes them, however they are written faster."""

from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from psycopg.sql import Literal

from common.database import _literal


@given(
    st.integers(-(2**80), 2**80) | st.booleans() | st.none() | st.text() | st.text("ab '\\\0\n\t\x7fé", max_size=5)
    | st.lists(st.integers() | st.none())
)  # fmt: skip
@example("it's")
@example("a\\b")
@example("\ntext\n")
@example("50 %")
@example("a\n")
def test_a_value_is_written_as_psycopg_writes_it(value):
    try:
        expected = Literal(value).as_bytes(None)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the same
        with pytest.raises(type(error)):
            _literal(value, None)
    else:
        assert _literal(value, None) == expected


@given(st.uuids())
def test_an_id_is_written_as_text(value):
    assert _literal(value, None) == b"'%b'" % str(value).encode()
    assert UUID(_literal(value, None)[1:-1].decode()) == value
