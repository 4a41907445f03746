"""The metadata that all tables stand in, and the columns that many of them have."""

from sqlalchemy import BigInteger, Column, DateTime, Integer, MetaData, text

metadata = MetaData(
    naming_convention={
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s_check",
        "fk": "%(table_name)s_%(column_0_name)s_fkey",
        "pk": "%(table_name)s_pkey",
    }
)

_NOW = text("now()")


def moment(name: str, *, nullable: bool = False, default: bool = False) -> Column[object]:
    """A point in time, with its zone; ``default`` is the start of the transaction that writes the row."""
    return Column(name, DateTime(timezone=True), nullable=nullable, server_default=_NOW if default else None)


def tally(name: str) -> Column[object]:
    """A sum over many rows or jobs, from 0: 64 bits."""
    return Column(name, BigInteger, nullable=False, server_default=text("0"))


def count(name: str) -> Column[object]:
    """How many there are of one thing, from 0: 32 bits."""
    return Column(name, Integer, nullable=False, server_default=text("0"))
