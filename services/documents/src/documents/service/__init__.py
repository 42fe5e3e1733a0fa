"""The verbs of documents: they decide, raise and publish; no HTTP, no SQL."""

from .access import AccessService
from .branches import BranchService
from .contents import ContentService, Saved, Terms
from .departures import DepartureService
from .documents import DocumentService
from .folders import FolderService
from .live import LiveService
from .operations import Bench, OperationService
from .placing import Placer
from .texts import TextService
from .verbs import Verbs
from .workbench import Workbench

__all__ = [
    "AccessService",
    "Bench",
    "BranchService",
    "ContentService",
    "DepartureService",
    "DocumentService",
    "FolderService",
    "LiveService",
    "OperationService",
    "Placer",
    "Saved",
    "Terms",
    "TextService",
    "Verbs",
    "Workbench",
]
