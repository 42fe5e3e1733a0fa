"""UUIDv7 (RFC 9562): time-ordered ids made by us, or by a client that works offline."""

from uuid import UUID

import uuid_utils.compat


def uuid7() -> UUID:
    """A new time-ordered id."""
    return uuid_utils.compat.uuid7()
