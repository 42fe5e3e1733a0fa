"""Tables of schema `ai_proxy`."""

from sqlmodel import SQLModel

from common.tables import add_access_projection, service_metadata


class Table(SQLModel):
    """Base of this service's tables."""

    metadata = service_metadata("ai_proxy")


add_access_projection(Table.metadata)
