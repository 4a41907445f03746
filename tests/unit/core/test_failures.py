import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError, InterfaceError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from core.store.failures import StoreUnavailable, is_crossed, is_outage


def wrapped(error: BaseException, *, invalidated: bool = False) -> DBAPIError:
    return DBAPIError("SELECT 1", {}, error, connection_invalidated=invalidated)


OUTAGES = [
    StoreUnavailable("away"),
    ConnectionRefusedError(),
    ConnectionResetError(),
    TimeoutError(),
    PoolTimeout(),
    asyncpg.InterfaceError("connection is closed"),
    InterfaceError("SELECT 1", {}, asyncpg.InterfaceError("closed")),
    wrapped(asyncpg.ConnectionDoesNotExistError("gone")),
    wrapped(asyncpg.AdminShutdownError("shutting down")),
    wrapped(asyncpg.CannotConnectNowError("starting up")),
    wrapped(asyncpg.CrashShutdownError("crash")),
    wrapped(asyncpg.TooManyConnectionsError("too many")),
    wrapped(asyncpg.DiskFullError("disk full")),
    wrapped(asyncpg.QueryCanceledError("statement timeout")),
    wrapped(asyncpg.LockNotAvailableError("lock timeout")),
    wrapped(asyncpg.ReadOnlySQLTransactionError("read only")),
    wrapped(ValueError("whatever"), invalidated=True),
]
FAULTS_OF_A_ROW = [
    wrapped(asyncpg.UniqueViolationError("twice")),
    wrapped(asyncpg.CheckViolationError("nonsense")),
    wrapped(asyncpg.UntranslatableCharacterError("NUL")),
    wrapped(asyncpg.InvalidTextRepresentationError("no JSON")),
    wrapped(asyncpg.InsufficientPrivilegeError("not yours")),
    ValueError("a defect of ours"),
    KeyError("a defect of ours"),
]


@pytest.mark.parametrize("error", OUTAGES, ids=repr)
def test_a_database_that_is_away_is_an_outage(error: BaseException) -> None:
    assert is_outage(error)
    assert not is_crossed(error)


@pytest.mark.parametrize("error", FAULTS_OF_A_ROW, ids=repr)
def test_a_row_at_fault_is_no_outage(error: BaseException) -> None:
    assert not is_outage(error)
    assert not is_crossed(error)


@pytest.mark.parametrize("error", [asyncpg.DeadlockDetectedError("crosswise"), asyncpg.SerializationError("again")])
def test_a_deadlock_may_be_tried_again_at_once(error: BaseException) -> None:
    assert is_crossed(error)
    assert is_crossed(wrapped(error))
    assert not is_outage(wrapped(error))
