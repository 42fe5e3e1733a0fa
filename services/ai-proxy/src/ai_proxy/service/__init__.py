"""The verbs of this service."""

from .assist import AssistService
from .budgets import BudgetService
from .exchange import Ask, Exchange, Exchanges, Terms
from .facts import Facts
from .intake import Intake
from .keys import KeyService
from .meter import Caps, Meter
from .models import Models
from .places import Caller, Place, Places
from .usage import UsageService

__all__ = [
    "Ask",
    "AssistService",
    "BudgetService",
    "Caller",
    "Caps",
    "Exchange",
    "Exchanges",
    "Facts",
    "Intake",
    "KeyService",
    "Meter",
    "Models",
    "Place",
    "Places",
    "Terms",
    "UsageService",
]
