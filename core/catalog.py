"""Reading the catalog file, with errors that name file, line and key."""

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

from policies.catalog import Catalog, Deployment, Problem, parse

_CHAT = ("/v1/chat/completions", "/v1/completions", "/v1/responses")

SIMULATED: Mapping[str, tuple[str, ...]] = {
    "sim/chat": _CHAT,
    "sim/fast": _CHAT,
    "sim/slow": _CHAT,
    "sim/bench": (*_CHAT, "/v1/embeddings"),
    "sim/gpu": (*_CHAT, "/v1/embeddings", "/v1/rerank"),
    "sim/embed": ("/v1/embeddings",),
    "sim/moderate": ("/v1/moderations",),
    "sim/rerank": ("/v1/rerank",),
}
"""The simulator's models and their endpoints; how each behaves is the simulator's own business."""


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
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise CatalogError([_syntax_problem(file, text, error)]) from None
    catalog, problems = parse(document, cores=os.cpu_count() or 2)
    if problems:
        lines = _table_lines(text)
        placed = sorted(((_line_of(problem, lines), problem) for problem in problems), key=lambda pair: pair[0])
        raise CatalogError([f"{file}:{line}: {_where(problem)}{problem.message}" for line, problem in placed])
    return catalog.with_deployments(simulated(simulator_url)) if simulator_url else catalog


def simulated(simulator_url: str) -> tuple[Deployment, ...]:
    """Deployments for a simulator at `simulator_url`, one for each of its models."""
    return tuple(
        Deployment(
            name=model,
            model=model,
            provider="openai",
            base_url=simulator_url.rstrip("/") + "/v1",
            upstream_model=model,
            endpoints=frozenset(endpoints),
            region="local",
            owned_by="simulator",
            max_concurrency=4096,
        )
        for model, endpoints in SIMULATED.items()
    )


def missing_keys(catalog: Catalog, environment: Mapping[str, str]) -> list[str]:
    """Names of environment variables that deployments want for their API key and that are empty or absent."""
    wanted = {deployment.api_key_env for deployment in catalog.deployments if deployment.api_key_env}
    return sorted(name for name in wanted if not environment.get(name, "").strip())


def _syntax_problem(file: Path, text: str, error: Exception) -> str:
    if isinstance(error, RecursionError):
        return f"{file}:1: is not TOML: nested too deeply"
    at = re.search(r"\s*\(at (?:line (\d+), column \d+|end of document)\)", str(error))
    if at is None:
        return f"{file}: is not TOML: {error}"
    line, reason = int(at[1] or len(text.splitlines()) or 1), str(error).replace(at[0], "")
    if "Illegal character '\\n'" in reason or reason in ("Unterminated string", 'Expected "\'"'):
        reason = "a text is not closed; probably a quotation mark is missing at the end of the line"
    return f"{file}:{line}: is not TOML: {reason}"


def _where(problem: Problem) -> str:
    if problem.index is None:
        return f"{problem.table}: " if problem.key is None else f"{problem.key}: "
    place = f"{problem.table}[{problem.index}]"
    return f"{place}.{problem.key}: " if problem.key else f"{place}: "


_HEADER = re.compile(r"\s*\[\[?\s*\"?([A-Za-z0-9_-]+)\"?")
_KEY = re.compile(r"\s*[\"']?([A-Za-z0-9_-]+)[\"']?\s*[.=]")

_Lines = dict[tuple[str | None, int | None, str | None], int]


def _table_lines(text: str) -> _Lines:
    """Line numbers of table headers and keys. tomllib tells none, so this looks for what begins a line outside long strings.

    It reads the way the file is meant to be written (`[[deployments]]`, one key a line). A key in an inline table is not
    found; its problem is then told with the line of the table.
    """
    lines: _Lines = {}
    counts: dict[str, int] = {}
    table: str | None = None
    index: int | None = None
    long_string: str | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        if long_string is None:
            if line.lstrip().startswith("["):
                if header := _HEADER.match(line):
                    table = header[1]
                    index = counts.get(table, 0)
                    counts[table] = index + 1
                    lines.setdefault((table, None, None), number)
                    lines[table, index, None] = number
            elif key := _KEY.match(line):
                place = (table, index, key[1]) if table else (key[1], None, None)
                lines.setdefault(place, number)
        for quotes in ('"""', "'''"):
            if line.count(quotes) % 2 and long_string in (None, quotes):
                long_string = None if long_string else quotes
    return lines


def _line_of(problem: Problem, lines: _Lines) -> int:
    for place in (
        (problem.table, problem.index, problem.key),
        (problem.table, problem.index, None),
        (problem.table, None, None),
    ):
        if place in lines:
            return lines[place]
    return 1
