"""Every statement of this service."""

from .budgets import BudgetRepository
from .keys import KeyRepository
from .ledger import LedgerRepository, WorkerRepository
from .places import PlaceRepository
from .workspaces import WorkspaceRepository

__all__ = [
    "BudgetRepository",
    "KeyRepository",
    "LedgerRepository",
    "PlaceRepository",
    "WorkerRepository",
    "WorkspaceRepository",
]
