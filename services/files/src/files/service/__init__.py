"""The verbs of this service."""

from .caretaker import Caretaker, Grace
from .context import ContextService
from .examination import Examiner
from .files import FileService
from .inventory import GRACE_SECONDS, Inventory
from .placements import Placements
from .places import Places
from .uploads import CompletionService, Terms, UploadService

__all__ = [
    "GRACE_SECONDS",
    "Caretaker",
    "CompletionService",
    "ContextService",
    "Examiner",
    "FileService",
    "Grace",
    "Inventory",
    "Placements",
    "Places",
    "Terms",
    "UploadService",
]
