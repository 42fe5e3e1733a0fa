"""Tables of schema `files`."""

from sqlmodel import SQLModel

from common.tables import service_metadata


class Table(SQLModel):
    """Base of this service's tables."""

    metadata = service_metadata("files")
