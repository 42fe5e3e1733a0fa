"""The verbs of documents: they decide, raise and publish; no HTTP, no SQL."""

from .access import AccessService
from .branches import BranchService
from .departures import DepartureService
from .documents import DocumentService, Saved, Terms
from .folders import FolderService
from .placing import Placer
from .workbench import Workbench

__all__ = [
    "AccessService",
    "BranchService",
    "DepartureService",
    "DocumentService",
    "FolderService",
    "Placer",
    "Saved",
    "Terms",
    "Workbench",
]
