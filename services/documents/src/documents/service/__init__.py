"""The verbs of documents: they decide, raise and publish; no HTTP, no SQL."""

from .access import AccessService
from .branches import BranchService
from .caretaker import Caretaker
from .contents import ContentService, Saved, Terms
from .departures import DepartureService
from .documents import DocumentService
from .folders import FolderService
from .live import LiveService
from .operations import Bench, OperationService
from .placing import Placer
from .purge import PurgeService
from .texts import TextService
from .verbs import Verbs
from .workbench import Workbench

__all__ = [
    "AccessService",
    "Bench",
    "BranchService",
    "Caretaker",
    "ContentService",
    "DepartureService",
    "DocumentService",
    "FolderService",
    "LiveService",
    "OperationService",
    "Placer",
    "PurgeService",
    "Saved",
    "Terms",
    "TextService",
    "Verbs",
    "Workbench",
]
