"""Every SQL statement of documents, named as questions. Rights are part of each statement; it holds no rules."""

from .branches import BranchRepository
from .documents import DocumentRepository, Write
from .live import Exported, LiveRepository
from .operations import OperationRepository, claim_of
from .purge import PurgeRepository
from .roots import Root, RootRepository
from .tree import TreeRepository
from .waves import Plain, WaveRepository

__all__ = [
    "BranchRepository",
    "DocumentRepository",
    "Exported",
    "LiveRepository",
    "OperationRepository",
    "Plain",
    "PurgeRepository",
    "Root",
    "RootRepository",
    "TreeRepository",
    "WaveRepository",
    "Write",
    "claim_of",
]
