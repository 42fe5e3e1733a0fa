"""The verbs of documents: they decide, raise and publish; no HTTP, no SQL."""

from .documents import DocumentService, Saved, Terms
from .workbench import Workbench

__all__ = ["DocumentService", "Saved", "Terms", "Workbench"]
