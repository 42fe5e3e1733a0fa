"""Cold paths: SQLAlchemy expressions over the SQLModel tables, run on the request's own transaction.

A module of its own, so that services without cold paths do not load SQLAlchemy (21 MB).
"""

from sqlalchemy import ClauseElement
from sqlalchemy.dialects.postgresql.psycopg import dialect

from common.database import Row, Transaction

_DIALECT = dialect(paramstyle="pyformat")  # type: ignore[no-untyped-call]


async def run(transaction: Transaction, expression: ClauseElement) -> list[Row]:
    """Rows of `expression`."""
    compiled = expression.compile(dialect=_DIALECT, compile_kwargs={"render_postcompile": True})
    cursor = await transaction.execute(str(compiled), compiled.params)
    return await cursor.fetchall() if cursor.description else []
