"""Tables of schema `documents`, a module for each capability."""

from . import documents
from .table import Table

__all__ = ["Table", "documents"]
