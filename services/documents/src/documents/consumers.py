"""Events in, one service call each."""

from common.access import Projections
from common.contracts.auth_gateway import MembershipChanged
from common.messaging import Subscriber

from .dependencies import take_back_grants

subscribers = [
    *Projections("documents", owns_roots=True).subscribers,
    Subscriber((MembershipChanged.type,), take_back_grants),
]
