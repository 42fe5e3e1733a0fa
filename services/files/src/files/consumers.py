"""Events in, one service call each."""

from common.access import Projections

subscribers = Projections("files").subscribers
