"""What a failing database means: come back later, try again at once, or your row is at fault."""

import asyncpg
from sqlalchemy.exc import DBAPIError, InterfaceError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection

# Connection trouble (08), no resources (53: disk, memory, connections), operator (57: shutdown, cancelled by a timeout), system
# (58: I/O), and 55P03: a lock that could not be had in time, 25P03: idle in a transaction for too long.
_OUTAGE_CLASSES = ("08", "53", "57", "58")
_OUTAGE_STATES = {"55P03", "25P03", "25006"}
_CROSSED = {"40P01", "40001"}


class StoreUnavailable(Exception):
    """Postgres cannot be reached or cannot answer in time; nothing was accepted. Callers may try again."""


class UnknownOutcome(OSError):
    """The connection died between COMMIT and its answer: what it was to store is there, or it is not."""


def _sqlstate(error: BaseException) -> str:
    if isinstance(error, DBAPIError):
        error = error.orig or error
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    return state or ""


def is_outage(error: BaseException) -> bool:
    """Tell whether ``error`` says that the database is away or overwhelmed, rather than that a row is wrong."""
    if isinstance(error, StoreUnavailable | OSError | TimeoutError | PoolTimeout | InterfaceError):
        return True
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    if isinstance(error, asyncpg.InterfaceError):
        return True
    state = _sqlstate(error)
    return state[:2] in _OUTAGE_CLASSES or state in _OUTAGE_STATES


def is_crossed(error: BaseException) -> bool:
    """Tell whether ``error`` is a deadlock or a serialization failure: the same transaction may be run again at once."""
    return _sqlstate(error) in _CROSSED


DATABASE_ERRORS = (SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)


async def commit(connection: AsyncConnection) -> None:
    """Commit.

    Raises:
        UnknownOutcome: when nobody can tell whether it was.
        sqlalchemy.exc.SQLAlchemyError, asyncpg.PostgresError: what the driver raises when it was not.
    """
    try:
        await connection.commit()
    except DATABASE_ERRORS as error:
        if is_outage(error):
            raise UnknownOutcome from error
        raise
