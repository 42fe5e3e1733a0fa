"""Every statement of this service."""

from .blobs import BlobRepository
from .context import ContextRepository
from .documents import DocumentRepository
from .files import FileRepository
from .inventory import InventoryRepository
from .uploads import UploadRepository

__all__ = [
    "BlobRepository",
    "ContextRepository",
    "DocumentRepository",
    "FileRepository",
    "InventoryRepository",
    "UploadRepository",
]
