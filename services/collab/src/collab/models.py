"""Tables of schema `collab`."""

from sqlmodel import SQLModel

from common.tables import add_access_projection, service_metadata


class Table(SQLModel):
    """Base of this service's tables."""

    metadata = service_metadata("collab")


add_access_projection(Table.metadata)
