"""A request for a job: its fields, their limits, and how a violation is told."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from api.problems import Fault, Problem, invalid, invalid_fields
from api.schemas.bodies import BODIES
from api.schemas.wording import faults_of
from policies.auto import is_auto
from policies.catalog import Catalog

Endpoint = Literal[
    "/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/v1/completions", "/v1/moderations", "/v1/rerank"
]
ENDPOINTS: Final[tuple[str, ...]] = get_args(Endpoint)
JobEvent = Literal["job.succeeded", "job.failed", "job.cancelled", "job.expired"]
FURTHEST: Final = timedelta(days=30)
DEFAULT_TTL: Final = timedelta(days=1)
_MONTH_S: Final = 30 * 86_400
# The profile of ISO 8601 that RFC 3339 names, with a zone; 60 is no second of ours.
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:[0-5]\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)


def moment(value: object) -> datetime:
    """Return the instant that an RFC 3339 text names, in UTC.

    Raises:
        PydanticCustomError: for anything else, and for dates that do not exist.
    """
    if isinstance(value, str) and _MOMENT.fullmatch(value):
        try:
            text = re.sub(r"(\.\d{6})\d+", r"\1", value.upper())
            return datetime.fromisoformat(text).astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    raise PydanticCustomError("moment", "Must be a date and time with a zone, such as 2026-11-20T08:00:00Z")


def _metadata(value: dict[str, str]) -> dict[str, str]:
    if len(value) > 16:
        raise PydanticCustomError("metadata", "May have at most 16 pairs")
    for name, text in value.items():
        if not 1 <= len(name) <= 64 or name.startswith(("$", "__")):
            raise PydanticCustomError("metadata", "Keys have 1 to 64 characters and start with neither $ nor __")
        if len(text) > 512:
            raise PydanticCustomError("metadata", "Values have at most 512 characters")
    return value


Moment = Annotated[datetime, BeforeValidator(moment), WithJsonSchema({"type": "string", "format": "date-time"})]
Metadata = Annotated[
    dict[str, str],
    AfterValidator(_metadata),
    WithJsonSchema(
        {
            "type": "object",
            "maxProperties": 16,
            "propertyNames": {"minLength": 1, "maxLength": 64, "pattern": r"^(?!\$|__)"},
            "additionalProperties": {"type": "string", "maxLength": 512},
        }
    ),
]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class CacheOptions(_Strict):
    """How the job may use cached results. Having this member asks for caching also where answers are meant to vary."""

    mode: Literal["default", "refresh", "off", "only"] = "default"
    ttl_s: float | None = Field(None, gt=0, le=365 * 86_400)
    semantic: bool | None = Field(
        None, description="Also take the answer to a question that means the same. Else the key or the model says."
    )
    threshold: float | None = Field(None, ge=0, le=1, description="How near such a question must be, at least.")


class JobWebhook(_Strict):
    """A URL for this job's events alone, besides the registered endpoints."""

    url: str = Field(min_length=1, max_length=2048, description="https on port 443 or 8443, not on a private network.")
    events: list[JobEvent] | None = Field(None, min_length=1, max_length=4, description="All four when left out.")


class JobRequest(_Strict):
    """One AI request and how it should be run."""

    endpoint: Endpoint = Field(description="Which OpenAI-style operation the body is for.")
    body: dict[str, Any] = Field(
        description="That operation's request, `model` included. Unknown members pass through."
    )
    lane: Literal["interactive", "default", "bulk"] = Field("default", description="How urgent it is.")
    priority: int = Field(5, ge=0, le=9, description="9 first, among your own jobs in one lane.")
    run_at: Moment | None = Field(None, description="Not before this moment; at most 30 days ahead.")
    delay_s: float | None = Field(None, ge=0, le=_MONTH_S, description="Not before so many seconds from now.")
    expires_in_s: float | None = Field(
        None,
        gt=0,
        le=2 * _MONTH_S,
        description="If it has not started so many seconds from now, it expires. Default: 24 h after run_at.",
    )
    timeout_s: float = Field(600, ge=1, le=3600, description="The limit of one attempt, from its start.")
    max_attempts: int = Field(5, ge=1, le=20, description="Tries in all, with growing pauses between them.")
    cache: CacheOptions | None = None
    webhook: JobWebhook | None = None
    metadata: Metadata | None = Field(None, description="Your own labels: returned, and filterable in lists.")
    concurrency_key: str | None = Field(
        None,
        min_length=1,
        max_length=255,
        description="At most concurrency_limit of your jobs with this key are let into the queue at once; the others wait.",
    )
    concurrency_limit: int | None = Field(
        None, ge=1, le=10_000, description="Of the key; where jobs name different ones, the newest job's holds."
    )

    def times(self, now: datetime) -> tuple[datetime | None, datetime | None]:
        """Return (run_at, expires_at) for a job accepted at `now`; None leaves a time to the database's own clock.

        Raises:
            Problem: 422 for times that contradict each other.
        """
        if self.run_at is None and not self.delay_s:
            return None, None
        if self.run_at is not None and self.delay_s is not None:
            raise invalid("/delay_s", "Give run_at or delay_s, not both.")
        run_at = self.run_at or now + timedelta(seconds=self.delay_s or 0)
        # A run_at that passed on its way to us means now; one from another age is a mistake.
        if run_at < now - timedelta(days=1):
            raise invalid("/run_at", "run_at is long past.")
        if run_at > now + FURTHEST:
            raise invalid("/run_at", "run_at may be at most 30 days ahead.")
        if run_at <= now:
            return None, None
        if self.expires_in_s is None:
            return run_at, run_at + DEFAULT_TTL
        expires_at = now + timedelta(seconds=self.expires_in_s)
        if expires_at <= run_at:
            raise invalid("/expires_in_s", "The job would expire before its run_at.")
        return run_at, expires_at


def check(value: Any, catalog: Catalog) -> JobRequest:
    """Return the checked request. Whether any model fits `auto` is decided when the job is routed.

    Raises:
        Problem: 422 that names every field at fault, or 409 for `cache.mode: only`.
    """
    if not isinstance(value, dict):
        raise Problem(
            "invalid_request", "A job request must be a JSON object.", errors=[Fault("", "Must be a JSON object.")]
        )
    try:
        request = JobRequest.model_validate(value)
    except ValidationError as error:
        raise invalid_fields(faults_of(error)) from None
    if (request.concurrency_key is None) != (request.concurrency_limit is None):
        missing = "key" if request.concurrency_key is None else "limit"
        raise invalid(f"/concurrency_{missing}", "concurrency_key and concurrency_limit come together.")
    try:
        BODIES[request.endpoint].model_validate(request.body)
    except ValidationError as error:
        raise invalid_fields(faults_of(error, "/body")) from None
    _check_model(request, catalog)
    return request


def _check_model(request: JobRequest, catalog: Catalog) -> None:
    model: str = request.body["model"]
    deployments = catalog.deployments_for(model)
    if not deployments and is_auto(model):
        return
    if not deployments:
        detail = f"There is no model {model!r}; GET /v1/models lists those there are."
        raise Problem("unknown_model", detail, param="body.model", errors=[Fault("/body/model", detail)])
    if not any(deployment.serves(request.endpoint) for deployment in deployments):
        detail = f"The model {model!r} does not serve {request.endpoint}."
        raise Problem("unsupported_endpoint", detail, param="endpoint", errors=[Fault("/endpoint", detail)])
