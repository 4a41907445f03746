"""What a schedule does when it fires: which of its times count, which jobs a run has, and how many of them its budget allows."""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

JOBS: Final = "jobs"
PREWARM: Final = "prewarm"
KEEP_WARM: Final = "keep_warm"
KINDS: Final = (JOBS, PREWARM, KEEP_WARM)

#: Most jobs of one run.
MOST_JOBS: Final = 10_000
#: A time missed by more than this is not made up for.
CATCH_UP: Final = timedelta(hours=1)
#: Looked at so late, a time still counts as kept.
ON_TIME: Final = timedelta(seconds=60)
#: Deployments are warm before their users come.
WARM_AHEAD: Final = timedelta(minutes=5)
#: So many jobs show what one costs; until then nothing tells how many a budget allows.
PROBE: Final = 8

#: In place of a matrix: a prewarm run chooses from what was asked for before.
LEARNED: Final = "learned"

Scalar = str | int | float | bool
Matrix = Mapping[str, Sequence[Scalar]]

#: What a placeholder is called.
NAME: Final = r"[A-Za-z_][A-Za-z0-9_-]{0,63}"
_PLACEHOLDER: Final = re.compile(r"\{\{\s*(" + NAME + r")\s*\}\}", re.ASCII)


# --- times ---


def lead(kind: str) -> timedelta:
    """Return how long before its times a schedule of this kind begins."""
    return WARM_AHEAD if kind == KEEP_WARM else timedelta()


@dataclass(frozen=True, slots=True)
class Firing:
    """What becomes of the times that have come.

    Attributes:
        slot: the time that is kept, the latest of them; where `run` is False, the time that is given up.
        run: whether there is a run.
        trigger: `catch_up` for a time that is kept late.
        missed: earlier times that get no run of their own.
    """

    slot: datetime
    run: bool
    trigger: Literal["cron", "catch_up"]
    missed: int


def firing(due: datetime, recent: Sequence[datetime], now: datetime) -> Firing:
    """Decide about the times from `due` to `now`, of which `recent` are at most `CATCH_UP` old (rising): one run or none.

    However long nobody looked, there is one run for the latest time, and none when that is more than an hour ago.
    """
    if not recent:
        return Firing(due, run=False, trigger="catch_up", missed=0)
    slot = recent[-1]
    older = int(due < recent[0])
    return Firing(
        slot, run=True, trigger="cron" if now - slot <= ON_TIME else "catch_up", missed=len(recent) - 1 + older
    )


# --- jobs ---


def placeholders(template: Any) -> dict[str, str]:
    """Return the names of the placeholders in a template's strings, each with a JSON pointer to its first use."""
    found: dict[str, str] = {}
    for pointer, text in _strings(template, ""):
        for name in _PLACEHOLDER.findall(text):
            found.setdefault(name, pointer)
    return found


def _strings(value: Any, pointer: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield pointer, value
    elif isinstance(value, Mapping):
        for name, member in value.items():
            yield from _strings(member, f"{pointer}/{str(name).replace('~', '~0').replace('/', '~1')}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _strings(item, f"{pointer}/{index}")


def combinations(matrix: Matrix | None) -> int:
    """Return how many jobs a matrix makes: one for every combination, one without a matrix."""
    return math.prod(len(values) for values in matrix.values()) if matrix else 1


def combination(matrix: Matrix | None, index: int) -> dict[str, Scalar]:
    """Return combination number `index`, from 0; the last member's values change fastest.

    Raises:
        IndexError: when there are not so many.
    """
    if not 0 <= index < combinations(matrix):
        raise IndexError(index)
    chosen: dict[str, Scalar] = {}
    for name, values in reversed(list((matrix or {}).items())):
        index, place = divmod(index, len(values))
        chosen[name] = values[place]
    return {name: chosen[name] for name in matrix or ()}


def fill(template: Any, values: Mapping[str, Scalar]) -> Any:
    """Return the template with every `{{name}}` of `values` in its strings replaced, in one pass.

    A string that is one placeholder and nothing else becomes the value itself, so a number stays a number. Names of members and
    what is not a string stay as they are.
    """
    if isinstance(template, str):
        return _fill_text(template, values)
    if isinstance(template, Mapping):
        return {name: fill(member, values) for name, member in template.items()}
    if isinstance(template, list | tuple):
        return [fill(item, values) for item in template]
    return template


def _fill_text(text: str, values: Mapping[str, Scalar]) -> Scalar:
    if "{{" not in text:
        return text
    whole = _PLACEHOLDER.fullmatch(text)
    if whole and whole[1] in values:
        return values[whole[1]]
    return _PLACEHOLDER.sub(lambda place: _text(values[place[1]]) if place[1] in values else place[0], text)


def _text(value: Scalar) -> str:
    return value if isinstance(value, str) else json.dumps(value)


# --- budgets ---


@dataclass(frozen=True, slots=True)
class Budget:
    """What one run may use; None is no limit. Money in USD."""

    max_jobs: int | None = None
    max_tokens: int | None = None
    max_cost_usd: float | None = None

    @property
    def counts_use(self) -> bool:
        """Whether the run has to be paced by what its jobs used."""
        return self.max_tokens is not None or self.max_cost_usd is not None


@dataclass(frozen=True, slots=True)
class Spent:
    """How a run stands.

    Attributes:
        submitted: its jobs so far.
        unfinished: those of them that have not ended.
        tokens: what the others used; `most_tokens` what one of them used at the most.
        cost_usd: what they cost, as far as prices are known; `most_cost_usd` what one of them cost at the most.
    """

    submitted: int = 0
    unfinished: int = 0
    tokens: int = 0
    most_tokens: int = 0
    cost_usd: float = 0.0
    most_cost_usd: float = 0.0


@dataclass(frozen=True, slots=True)
class Allowance:
    """How many more jobs may be submitted now. Where it is none for good, `stopped_by` names the member of the budget."""

    jobs: int
    stopped_by: str | None = None


def allowance(budget: Budget, spent: Spent, expected_tokens: int, expected_usd: float | None) -> Allowance:
    """Return how many jobs the budget has room for.

    Jobs that have not ended count as the most that one has used so far, or as `expected_…` as long as none has ended: then only a
    few are tried. A run may go over its budget by the last of its jobs, never by a queue full of them.

    Args:
        budget: the limits.
        spent: how the run stands.
        expected_tokens: the most that the next job is expected to take.
        expected_usd: the most that it is expected to cost; None where no price is known.
    """
    room = MOST_JOBS
    if budget.max_jobs is not None:
        room = max(0, budget.max_jobs - spent.submitted)
        if not room:
            return Allowance(0, "max_jobs")
    ended = spent.submitted > spent.unfinished
    for name, limit, used, most, expected in (
        ("max_tokens", budget.max_tokens, float(spent.tokens), float(spent.most_tokens), float(expected_tokens)),
        ("max_cost_usd", budget.max_cost_usd, spent.cost_usd, spent.most_cost_usd, expected_usd or 0.0),
    ):
        if limit is None:
            continue
        if used >= limit:
            return Allowance(0, name)
        each = most if ended else expected
        fit = MOST_JOBS if each <= 0 else int((limit - used) / each)
        # One at a time goes on to the very end: jobs differ, and the most that one has used need not be what the next one uses.
        room = min(room, max(fit - spent.unfinished, 0 if spent.unfinished else 1))
    if budget.counts_use and not ended:
        room = min(room, max(0, PROBE - spent.unfinished))
    return Allowance(room)
