"""Every SQL statement of documents, named as questions. Rights are part of each statement; it holds no rules."""

from .documents import DocumentRepository, Write
from .roots import RootRepository
from .tree import TreeRepository

__all__ = ["DocumentRepository", "RootRepository", "TreeRepository", "Write"]
