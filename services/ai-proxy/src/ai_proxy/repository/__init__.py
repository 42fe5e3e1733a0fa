"""Every statement of this service."""

from .budgets import BudgetRepository
from .keys import KeyRepository
from .ledger import LedgerRepository, WorkerRepository
from .places import PlaceRepository

__all__ = ["BudgetRepository", "KeyRepository", "LedgerRepository", "PlaceRepository", "WorkerRepository"]
