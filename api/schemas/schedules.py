"""Schedules and their runs: what is checked on the way in, and how they look to the outside."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

from api.schemas.job_request import Endpoint
from core import ids
from core.cron import CronError, ZoneError, next_fire, next_fires, zone
from core.render import moment
from core.store.schedules import Schedule
from policies.schedules import LEARNED, MOST_JOBS, NAME, combinations

Kind = Literal["jobs", "prewarm", "keep_warm"]
SHOWN_TIMES: Final = 5
#: A template and its matrix, as JSON. Both are read for every run, and shown in every list.
MOST_BYTES: Final = 256 * 1024
#: What one run may expand to: as much as one bulk request.
MOST_EXPANDED: Final = 64 * 2**20
_NAME: Final = re.compile(NAME, re.ASCII)
_NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)
_USD: Final = re.compile(r"^(?=.*[1-9])[0-9]{1,9}(\.[0-9]{1,12})?$")
_MOST_USD: Final = 10**9
_YEAR_S: Final = 365 * 86_400


def _cron(value: str) -> str:
    try:
        next_fire(value, "UTC", _NOW)
    except CronError as error:
        raise PydanticCustomError("cron", "{why}", {"why": str(error)}) from None
    return " ".join(value.split())


def _zone(value: str) -> str:
    try:
        zone(value)
    except ZoneError as error:
        raise PydanticCustomError("timezone", "{why}", {"why": str(error)}) from None
    return value


def _value(value: object) -> object:
    if not isinstance(value, str | int | float | bool):
        raise PydanticCustomError("value", "Must be a text, a number, true or false")
    return value


def _usd(value: object) -> object:
    number = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= _MOST_USD
    if value is None or number or (isinstance(value, str) and _USD.fullmatch(value)):
        return value
    raise PydanticCustomError("usd", "Must be a number or a decimal text above 0")


def _matrix(value: dict[str, list[Any]]) -> dict[str, list[Any]]:
    for name in value:
        if not _NAME.fullmatch(name):
            raise PydanticCustomError("matrix", "Names have letters, digits, _ and -, up to 64, and no digit first")
    if combinations(value) > MOST_JOBS:
        raise PydanticCustomError("matrix", "Makes more than 10,000 jobs")
    return value


def _learned(value: object, check: ValidatorFunctionWrapHandler) -> object:
    return value if value == LEARNED else check(value)


Cron = Annotated[
    str,
    AfterValidator(_cron),
    Field(description="Minute, hour, day of month, month, day of week, as in Debian's cron."),
]
Zone = Annotated[str, AfterValidator(_zone), Field(description="A name of the IANA database, such as Europe/Berlin.")]
Value = Annotated[Any, AfterValidator(_value)]
Matrix = Annotated[
    dict[str, Annotated[list[Value], Field(min_length=1, max_length=MOST_JOBS)]],
    AfterValidator(_matrix),
    Field(max_length=16),
    WrapValidator(_learned),
    PlainSerializer(lambda matrix: matrix),
    Field(
        description="Values for the placeholders: one job for every combination, at most 10,000. Of prewarm also `learned`: each "
        "run chooses from what was asked for in the last weeks, by when it was, what is likely to be asked for soon."
    ),
    WithJsonSchema(
        {
            "anyOf": [
                {
                    "type": "object",
                    "maxProperties": 16,
                    "propertyNames": {"pattern": f"^{NAME}$"},
                    "additionalProperties": {
                        "type": "array",
                        "minItems": 1,
                        "maxItems": MOST_JOBS,
                        "items": {"type": ["string", "number", "boolean"]},
                    },
                },
                {"const": LEARNED},
            ]
        }
    ),
]
Template = Annotated[
    dict[str, Any],
    Field(
        description="A job request without run_at and delay_s, whose strings may hold {{name}}; a string that is "
        "nothing else becomes the value itself. With the matrix `learned` it only says which requests are looked at: those of "
        "`endpoint` and of `body.model`, as it was asked for; `{}` means all. Of keep_warm: `models`, `deployments`, `window_s` "
        "and `every_s`."
    ),
]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class RunBudget(_Strict):
    """What one run may use. A run that reaches a limit makes no more jobs."""

    max_jobs: int | None = Field(None, ge=1, le=MOST_JOBS)
    max_tokens: int | None = Field(None, ge=1, le=10**15)
    max_cost_usd: Annotated[
        Any,
        AfterValidator(_usd),
        WithJsonSchema(
            {
                "anyOf": [
                    {"type": "number", "exclusiveMinimum": 0, "maximum": _MOST_USD},
                    {"type": "string", "pattern": _USD.pattern},
                ]
            }
        ),
    ] = Field(
        None,
        description="A number or a decimal text. Jobs whose price is not known count as free; where a learned run chooses, as a "
        "dollar for a million tokens.",
    )


class KeepWarm(_Strict):
    """The template of `keep_warm`: what is kept warm, and for how long from each time of the cron expression."""

    models: list[Annotated[str, Field(min_length=1, max_length=200)]] = Field([], max_length=100)
    deployments: list[Annotated[str, Field(min_length=1, max_length=200)]] = Field([], max_length=100)
    window_s: float = Field(
        3600, ge=60, le=86_400, description="How long they are in use; warming begins five minutes earlier."
    )
    every_s: float = Field(45, ge=30, le=60, description="How often each is pinged.")


class LearnedBody(_Strict):
    """What the requests have in common that a learned run looks at."""

    model: str | None = Field(None, min_length=1, max_length=200)


class LearnedTemplate(_Strict):
    """The template of a learned prewarm: which requests its runs choose from."""

    endpoint: Endpoint | None = None
    body: LearnedBody | None = None


class NewSchedule(_Strict):
    """What is to be done when."""

    name: str = Field("", max_length=200, description="For you to recognise it by.")
    kind: Kind = Field(
        description="`jobs`: jobs as the template says. `prewarm`: jobs in the lane prewarm that fill the cache. "
        "`keep_warm`: pings that keep connections and models warm."
    )
    cron: Cron
    timezone: Zone = "UTC"
    paused: bool = Field(default=False, description="Nothing happens by itself; runs can be started.")
    template: Template
    matrix: Matrix | None = None
    budget: RunBudget | None = None
    ttl_s: float | None = Field(None, gt=0, le=_YEAR_S, description="Of prewarm: how long the entries live.")
    refresh_before_s: float | None = Field(
        None,
        ge=0,
        le=_YEAR_S,
        description="Of prewarm: entries that live for longer than this yet are skipped. Default: until the next run.",
    )


class ScheduleChange(_Strict):
    """What to change; members that are left out stay as they are."""

    name: str = Field("", max_length=200)
    cron: Cron = ""
    timezone: Zone = ""
    paused: bool = False
    template: Template = {}
    matrix: Matrix | None = None
    budget: RunBudget | None = None
    ttl_s: float | None = Field(None, gt=0, le=_YEAR_S)
    refresh_before_s: float | None = Field(None, ge=0, le=_YEAR_S)


class ScheduleOut(BaseModel):
    """A schedule."""

    id: str
    object: Literal["schedule"]
    name: str
    kind: Kind
    cron: str
    timezone: str
    paused: bool
    template: dict[str, Any]
    matrix: dict[str, list[Any]] | Literal["learned"] | None
    budget: dict[str, Any] | None
    ttl_s: float | None
    refresh_before_s: float | None
    next_runs: list[datetime] = Field(description="The next five times; none while it is paused.")
    created_at: datetime
    updated_at: datetime


class SchedulePage(BaseModel):
    """Schedules, newest first."""

    object: Literal["list"]
    data: list[ScheduleOut]
    has_more: bool
    first_id: str | None
    last_id: str | None


def learned(template: dict[str, Any]) -> dict[str, Any]:
    """Return the checked template of a learned prewarm as it was given; raises pydantic.ValidationError."""
    return LearnedTemplate.model_validate(template).model_dump(exclude_none=True)


def keep_warm(template: dict[str, Any]) -> dict[str, Any]:
    """Return the checked template of keep_warm with its defaults; raises pydantic.ValidationError."""
    return KeepWarm.model_validate(template).model_dump()


def render_schedule(schedule: Schedule) -> dict[str, Any]:
    """Return the Schedule of the contract, for `orjson.dumps` only."""
    times = [] if schedule.paused else next_fires(schedule.cron, schedule.timezone, datetime.now(UTC), SHOWN_TIMES)
    return {
        "id": ids.encode(ids.SCHEDULE, schedule.id),
        "object": "schedule",
        "name": schedule.name,
        "kind": schedule.kind,
        "cron": schedule.cron,
        "timezone": schedule.timezone,
        "paused": schedule.paused,
        "template": orjson.Fragment(schedule.template),
        "matrix": None if schedule.matrix is None else orjson.Fragment(schedule.matrix),
        "budget": None if schedule.budget is None else orjson.Fragment(schedule.budget),
        "ttl_s": schedule.ttl_s,
        "refresh_before_s": schedule.refresh_before_s,
        "next_runs": [moment(time) for time in times],
        "created_at": moment(schedule.created_at),
        "updated_at": moment(schedule.updated_at),
    }


def as_given(schedule: Schedule) -> dict[str, Any]:
    """Return the members of a stored schedule as they were handed in."""
    told: dict[str, Any] = {name: getattr(schedule, name) for name in NewSchedule.model_fields}
    for name in ("template", "matrix", "budget"):
        told[name] = None if told[name] is None else orjson.loads(told[name])
    return told


def as_text(members: Mapping[str, Any]) -> dict[str, Any]:
    """Return members as the store wants them: JSON as text."""
    return {
        name: orjson.dumps(value).decode() if name in ("template", "matrix", "budget") and value is not None else value
        for name, value in members.items()
    }
