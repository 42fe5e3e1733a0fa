"""Events in, one service call each."""

from .service import Facts

subscribers = Facts("ai_proxy").subscribers
