"""Reading the catalog file, with errors that name file, line and key, and reading it again when it was edited."""

import asyncio
import os
import re
import time
import tomllib
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Final

import structlog

from policies.catalog import Catalog, Problem, parse
from policies.catalog.simulated import SIMULATED, simulated

__all__ = ["SIMULATED", "CatalogError", "LiveCatalog", "load", "missing_keys", "simulated"]

_log = structlog.get_logger(__name__)

#: A file that was written so lately may be written again without a new modification time: its clock ticks in milliseconds.
_SETTLED_NS: Final = 1_000_000_000


class CatalogError(ValueError):
    """The catalog cannot be used. `problems` has one line of text for each mistake, all of them, in file order."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def load(path: str | Path, simulator_url: str | None = None) -> Catalog:
    """Read and check the catalog; add the simulator's deployments if `simulator_url` (`http://host:port`) is given.

    Raises CatalogError with every problem found.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
        raise CatalogError([f"{file}: cannot be read: {reason}"]) from None
    try:
        document = tomllib.loads(text, parse_float=Decimal)
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise CatalogError([_syntax_problem(file, text, error)]) from None
    servers = simulated(simulator_url) if simulator_url else ()
    catalog, problems = parse(document, cores=os.cpu_count() or 2, simulated=servers)
    if problems:
        lines = _lines(text)
        placed = sorted(((_line_of(problem, lines), problem) for problem in problems), key=lambda pair: pair[0])
        raise CatalogError([f"{file}:{line}: {_where(problem)}{problem.message}" for line, problem in placed])
    return catalog


class LiveCatalog:
    """The catalog in force, which follows the file.

    An edit takes effect as a whole or not at all: one with mistakes leaves the old catalog in force, is logged once as
    `catalog_refused` with every mistake, and stands in `problems` until the file is good again. So does a file that is gone.
    """

    def __init__(self, path: str | Path, simulator_url: str | None = None) -> None:
        """Read the file. Raises CatalogError: a process does not start with a broken catalog."""
        self._path = Path(path)
        self._simulator_url = simulator_url
        self._seen = self._stamp()
        self._current = load(self._path, simulator_url)
        self._problems: tuple[str, ...] = ()

    @property
    def current(self) -> Catalog:
        """The catalog in force. Take it once for each decision: it may be another one afterwards."""
        return self._current

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong with the file as it is now; empty while the catalog in force is what the file says."""
        return self._problems

    def reload_if_changed(self) -> bool:
        """Read the file if it changed since the last time; tell whether another catalog is in force now."""
        stamp = self._stamp()
        if stamp == self._seen:
            return False
        self._seen = stamp
        try:
            fresh = load(self._path, self._simulator_url)
        except CatalogError as error:
            self._refuse(tuple(error.problems))
            return False
        self._problems = ()
        if fresh.version == self._current.version:
            return False
        self._current = fresh
        _log.info("catalog_reloaded", path=str(self._path), version=fresh.version, deployments=len(fresh.deployments))
        return True

    async def follow(self, changed: Callable[[Catalog], None] | None = None, every_s: float = 1.0) -> None:
        """Look at the file again and again until cancelled; call `changed` with every new catalog."""
        while True:
            await asyncio.sleep(every_s)
            try:
                if self.reload_if_changed() and changed is not None:
                    changed(self._current)
            except Exception:  # noqa: BLE001 - one strange edit must not end the reading of all later ones
                _log.exception("catalog_reload_failed", path=str(self._path))

    def _refuse(self, problems: tuple[str, ...]) -> None:
        if problems != self._problems:
            _log.error("catalog_refused", path=str(self._path), problems=problems, in_force=self._current.version)
        self._problems = problems

    def _stamp(self) -> tuple[int, ...] | None:
        """What changes whenever the file does; None if it can't be looked at."""
        try:
            found = self._path.stat()
        except OSError:
            return None
        # The moment makes every look at a file just written differ from the one before, so that it is read again.
        unsettled = max(0, found.st_mtime_ns + _SETTLED_NS - time.time_ns())
        return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, min(unsettled, _SETTLED_NS))


def missing_keys(catalog: Catalog, environment: Mapping[str, str]) -> list[str]:
    """Names of environment variables that deployments want for their API key and that are empty or absent."""
    wanted = {deployment.api_key_env for deployment in catalog.deployments if deployment.api_key_env}
    return sorted(name for name in wanted if not environment.get(name, "").strip())


def _syntax_problem(file: Path, text: str, error: Exception) -> str:
    if isinstance(error, RecursionError):
        return f"{file}:1: is not TOML: nested too deeply"
    if not isinstance(error, tomllib.TOMLDecodeError):
        return f"{file}: is not TOML: a number is too long"
    at = re.search(r"\s*\(at (?:line (\d+), column \d+|end of document)\)", str(error))
    if at is None:
        return f"{file}: is not TOML: {error}"
    line, reason = int(at[1] or len(text.splitlines()) or 1), str(error).replace(at[0], "")
    if "Illegal character '\\n'" in reason or reason in ("Unterminated string", 'Expected "\'"'):
        reason = "a text is not closed; probably a quotation mark is missing at the end of the line"
    return f"{file}:{line}: is not TOML: {reason}"


_BARE = re.compile(r"[A-Za-z0-9_-]+")


def _where(problem: Problem) -> str:
    """The mistake's place as it would be written in the file: `deployments[1].price.input`, `models."gpt-5".hedge`."""
    shown = ""
    for part in problem.place:
        if isinstance(part, int):
            shown += f"[{part}]"
        else:
            shown += ("." if shown else "") + (part if _BARE.fullmatch(part) else f'"{part}"')
    return f"{shown}: " if shown else ""


_PART: Final = r"""(?:"[^"\n]*"|'[^'\n]*'|[A-Za-z0-9_-]+)"""
_DOTTED: Final = rf"{_PART}(?:\s*\.\s*{_PART})*"
_HEADER = re.compile(rf"\s*(\[\[?)\s*({_DOTTED})\s*\]")
_KEY = re.compile(rf"\s*({_DOTTED})\s*=")

_Place = tuple[str | int, ...]


def _lines(text: str) -> dict[_Place, int]:
    """Line numbers of tables and keys. tomllib tells none, so this looks for what begins a line outside long strings.

    It reads the way the file is meant to be written (`[[deployments]]`, one key a line). A key in an inline table is not
    found; its problem is then told with the line of the table.
    """
    lines: dict[_Place, int] = {}
    arrays: dict[str, int] = {}
    table: _Place = ()
    long_string: str | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        if long_string is None:
            if header := _HEADER.match(line):
                table = _table(header[1] == "[[", _parts(header[2]), arrays)
                _remember(lines, table, 1, number)
            elif key := _KEY.match(line):
                _remember(lines, (*table, *_parts(key[1])), len(table) + 1, number)
        for quotes in ('"""', "'''"):
            if line.count(quotes) % 2 and long_string in (None, quotes):
                long_string = None if long_string else quotes
    return lines


def _parts(dotted: str) -> list[str]:
    return [part.strip("\"'") for part in re.findall(_PART, dotted)]


def _table(new: bool, names: list[str], arrays: dict[str, int]) -> _Place:
    first, *below = names
    if new and not below:
        arrays[first] = arrays.get(first, -1) + 1
    return (first, arrays[first], *below) if first in arrays else (first, *below)


def _remember(lines: dict[_Place, int], place: _Place, least: int, number: int) -> None:
    for length in range(least, len(place) + 1):
        lines.setdefault(place[:length], number)


def _line_of(problem: Problem, lines: Mapping[_Place, int]) -> int:
    place = problem.place
    while place and place not in lines:
        place = place[:-1]
    return lines.get(place, 1)
