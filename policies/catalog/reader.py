"""Reading one TOML table after another, with every mistake noted where it is."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from policies.catalog.model import Problem
from policies.catalog.values import Keys, unknown


@dataclass(frozen=True, slots=True)
class Reader:
    """A place in the document, and the list in which mistakes are noted."""

    problems: list[Problem]
    table: str | None
    index: int | None = None
    path: tuple[str, ...] = ()

    def refuse(self, key: str | None, message: str) -> None:
        """Note a mistake at `key` of this table, or in the table as a whole."""
        self.problems.append(Problem(self.table, self.index, key, message, self.path))

    def below(self, name: str) -> "Reader":
        """Return a reader for the table `name` inside this one."""
        return replace(self, path=(*self.path, name))

    def read(self, table: Any, keys: Keys, tables: Collection[str] = ()) -> dict[str, Any]:
        """Return the good values of `table`; `tables` are keys that hold tables of their own and are read elsewhere."""
        found: dict[str, Any] = {}
        for key, value in self.entries(table):
            if key in tables:
                continue
            check = keys.get(key)
            if check is None:
                self.refuse(key, unknown("key", key, {*keys, *tables}))
                continue
            try:
                found[key] = check(value)
            except ValueError as error:
                self.refuse(key, str(error))
        return found

    def entries(self, table: Any) -> list[tuple[str, Any]]:
        """Return the keys and values of `table`, none (and a note) if it is no table."""
        if isinstance(table, Mapping):
            return list(table.items())
        self.refuse(None, "must be a table of keys and values")
        return []
