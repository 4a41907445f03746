"""Runs of schedules, as they look to the outside."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from api.schemas.schedules import Kind

RunStatus = Literal["running", "completed", "cancelled", "skipped"]


class ChoiceOut(BaseModel):
    """An entry that a learned run chose to warm, and why."""

    job_id: str = Field(description="The newest job that asked for it; the run sends its request again.")
    key: str = Field(description="The first digits of the key in the cache.")
    endpoint: str
    model: str = Field(description="As it was asked for.")
    probability: float = Field(description="That somebody asks for it while it is fresh because of this.")
    expected_saved_ms: float = Field(description="What a call takes, times the probability.")
    cost_usd: str | None = Field(description="What a call costs; null when nobody knows.")
    reason: str


class RunOut(BaseModel):
    """One firing of a schedule."""

    id: str
    object: Literal["schedule_run"]
    schedule_id: str
    group_id: str | None = Field(description="Its jobs as a group, which can be cancelled. Null where it has none.")
    kind: Kind
    status: RunStatus
    trigger: Literal["cron", "catch_up", "manual"] = Field(
        description="catch_up: a time that was missed, within an hour."
    )
    reason: str | None = Field(
        description="Why it was skipped (overlap, missed), stopped (max_jobs, max_tokens, max_cost_usd, cancelled, refused), "
        "chose nothing (nothing_likely, too_many_asks) or left answers out of the cache (not_kept)."
    )
    message: str | None = Field(description="The reason in words.")
    scheduled_for: datetime
    created_at: datetime
    finished_at: datetime | None
    missed: int = Field(description="Earlier times that this run stands for too.")
    planned: int = Field(description="Combinations of its template and matrix; of a learned one, the entries it chose.")
    skipped_fresh: int = Field(
        description="Of them, those whose cache entry was fresh enough; of a learned one also those that can't be asked for "
        "again, because the job has been deleted since or no model fits any more."
    )
    submitted: int = Field(description="Jobs made; of keep_warm: pings sent.")
    succeeded: int
    failed: int = Field(description="Failed or expired.")
    cancelled: int
    over_budget: int = Field(description="Combinations for which the budget had no room.")
    tokens: int
    cost: str | None = Field(description="USD, as far as prices are known.")
    choices: list[ChoiceOut] | None = Field(
        description="Of a learned run: the hundred most valuable entries that it chose, and why. Null until it has chosen, for "
        "other runs, and in events."
    )


class RunPage(BaseModel):
    """Runs, newest first."""

    object: Literal["list"]
    data: list[RunOut]
    has_more: bool
    first_id: str | None
    last_id: str | None


class RunCompleted(BaseModel):
    """The webhook event of the end of a run."""

    id: str
    object: Literal["event"]
    type: Literal["schedule.run_completed"]
    created_at: int
    timestamp: datetime
    data: RunOut
