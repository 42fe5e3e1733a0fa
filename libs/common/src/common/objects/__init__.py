"""Objects (large bodies, files): one port, two adapters: a local folder, S3.

The S3 adapter and the routes are imported where they are used (`adapters`, `routes`), so that no process loads what
it does not need.
"""

from common.objects.adapters import open_store
from common.objects.errors import (
    BodySizeMismatchError,
    ChecksumMismatchError,
    ObjectExistsError,
    ObjectMissingError,
    ObjectStoreUnavailableError,
    PartsMismatchError,
    UrlExpiredError,
    UrlInvalidError,
    UrlMethodError,
)
from common.objects.folder import FolderStore
from common.objects.folder_files import FolderFileStore
from common.objects.store import KEY, FileStore, ObjectStore, Part, Served, Signed, Stored, Unfinished

__all__ = [
    "KEY",
    "BodySizeMismatchError",
    "ChecksumMismatchError",
    "FileStore",
    "FolderFileStore",
    "FolderStore",
    "ObjectExistsError",
    "ObjectMissingError",
    "ObjectStore",
    "ObjectStoreUnavailableError",
    "Part",
    "PartsMismatchError",
    "Served",
    "Signed",
    "Stored",
    "Unfinished",
    "UrlExpiredError",
    "UrlInvalidError",
    "UrlMethodError",
    "open_store",
]
