"""Who may do what: the decision function all services share, the facts it decides by, and the copies of them.

The model is explained in docs/access.md.
"""

from common.access.decisions import (
    RANKED,
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
from common.access.facts import Projections
from common.access.projection import AccessProjection

__all__ = [
    "RANKED",
    "AccessProjection",
    "Action",
    "Membership",
    "Projections",
    "Role",
    "Root",
    "abilities",
    "allows",
    "at_least",
    "role_at",
    "roles_allowing",
    "strongest",
]
