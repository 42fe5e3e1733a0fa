"""Tables of schema `files`."""

from sqlmodel import SQLModel

from common.tables import add_access_projection, service_metadata


class Table(SQLModel):
    """Base of this service's tables."""

    metadata = service_metadata("files")


add_access_projection(Table.metadata)
