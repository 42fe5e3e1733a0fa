"""Places among siblings as fractional indexes: strings that sort, with room between any two.

Source: "Implementing Fractional Indexing", D. Greenspan; the keys of npm and PyPI `fractional-indexing` are valid here.
"""

import time

from fractional_indexing import BASE_62_DIGITS, FIError, generate_key_between

_TIME_HEAD, _TIME_DIGITS = "i", 9
"""An integer part of nine digits: milliseconds since 1970 fit in, and every key a client counts up to lies before."""


def at_the_end() -> str:
    """A key after all that were made before: the time, so that nobody has to look for the last one."""
    rest, digits = time.time_ns() // 1_000_000, ""
    for _ in range(_TIME_DIGITS):
        rest, digit = divmod(rest, len(BASE_62_DIGITS))
        digits = BASE_62_DIGITS[digit] + digits
    return _TIME_HEAD + digits


def between(before: str | None, after: str | None) -> str:
    """A key between two others, None being the end. Raises `ValueError` unless there is room."""
    try:
        return str(generate_key_between(before, after))
    except FIError as error:
        raise ValueError(str(error)) from error
