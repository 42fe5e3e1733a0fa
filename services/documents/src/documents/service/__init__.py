"""The verbs of documents: they decide, raise and publish; no HTTP, no SQL."""

from .access import AccessService
from .branches import BranchService
from .departures import DepartureService
from .documents import DocumentService, Saved, Terms
from .folders import FolderService
from .operations import Bench, OperationService
from .placing import Placer
from .texts import TextService
from .verbs import Verbs
from .workbench import Workbench

__all__ = [
    "AccessService",
    "Bench",
    "BranchService",
    "DepartureService",
    "DocumentService",
    "FolderService",
    "OperationService",
    "Placer",
    "Saved",
    "Terms",
    "TextService",
    "Verbs",
    "Workbench",
]
