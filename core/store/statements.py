"""SQL statements kept as files: ``core/store/sql/NAME.sql``, each with a header that says what goes in and what comes out."""

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import direct
from core.direct import Row

_INCLUDE = re.compile(r"^-- include: (\S+)$", re.MULTILINE)
# A colon in a comment would read as a parameter, and the server has no use for comments.
_COMMENT = re.compile(r"--[^\n]*$", re.MULTILINE)

_PARAMETER = re.compile(r"(?<![:\w]):([a-z_]+)(?![:\w])")


def _source(name: str) -> str:
    raw = files("core.store").joinpath("sql", name).read_text(encoding="utf-8")
    return _INCLUDE.sub(lambda include: _source(include[1]), raw)


@cache
def statement(name: str) -> TextClause:
    """Return the statement of the file ``sql/{name}.sql`` with its includes.

    Raises:
        FileNotFoundError: when there is no such file.
    """
    return text(_COMMENT.sub("", _source(f"{name}.sql")))


@cache
def positional(name: str) -> tuple[str, tuple[str, ...]]:
    """Return a statement as the driver takes it, with numbered parameters, and their names in order."""
    names: dict[str, None] = {}

    def numbered(parameter: re.Match[str]) -> str:
        names.setdefault(parameter[1])
        return f"${list(names).index(parameter[1]) + 1}"

    sql = _PARAMETER.sub(numbered, _COMMENT.sub("", _source(f"{name}.sql")))
    return sql, tuple(names)


async def fetch(
    engine: AsyncEngine, name: str, parameters: Mapping[str, object], *, within_s: float | None = None
) -> list[Row]:
    """Run the statement of ``sql/{name}.sql`` by itself, on one of the engine's direct connections.

    Raises:
        KeyError: when a parameter is missing.
        asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError: what the driver raises.
    """
    sql, names = positional(name)
    return await direct(engine).fetch(sql, [parameters[each] for each in names], within_s=within_s)
