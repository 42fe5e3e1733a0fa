"""Every SQL statement of collab."""

from .documents import DocumentRepository, LiveRepository, mark_of
from .log import LogRepository

__all__ = ["DocumentRepository", "LiveRepository", "LogRepository", "mark_of"]
