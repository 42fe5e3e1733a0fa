"""What the tables of schema `documents` have in common."""

from typing import Any

from sqlalchemy import Column, DateTime, text
from sqlmodel import Field, SQLModel

from common.tables import add_access_projection, service_metadata

NOW = text("now()")


def moment(**options: Any) -> Any:
    """A column for a time."""
    return Field(sa_column=Column(DateTime(timezone=True), **options))


class Table(SQLModel):
    """Base of this service's tables."""

    metadata = service_metadata("documents")


add_access_projection(Table.metadata)
