"""Events in, one service call each."""

from common.access import Projections
from common.messaging import Subscriber

from .dependencies import append

subscribers = [*Projections("sync").subscribers, Subscriber(("*",), append)]
