"""Every SQL statement of documents, named as questions. Rights are part of each statement; it holds no rules."""

from .branches import BranchRepository
from .documents import DocumentRepository, Write
from .operations import OperationRepository, claim_of
from .roots import Root, RootRepository
from .tree import TreeRepository

__all__ = [
    "BranchRepository",
    "DocumentRepository",
    "OperationRepository",
    "Root",
    "RootRepository",
    "TreeRepository",
    "Write",
    "claim_of",
]
