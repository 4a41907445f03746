"""SQL statements kept as files: ``core/store/sql/NAME.sql``, each with a header that says what goes in and what comes out."""

import re
from functools import cache
from importlib.resources import files

from sqlalchemy import TextClause, text

_INCLUDE = re.compile(r"^-- include: (\S+)$", re.MULTILINE)
# A colon in a comment would read as a parameter, and the server has no use for comments.
_COMMENT = re.compile(r"--[^\n]*$", re.MULTILINE)


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
