"""What was used, and what it cost."""

from typing import Literal

from pydantic import Field

from api.schemas.answers.shapes import Answer


class UsageRow(Answer):
    """What finished jobs used. The members that `group_by` names come first: day, key_id, model, endpoint, lane."""

    jobs: int
    failed: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    total_tokens: int
    saved_tokens: int = Field(description="By token thrift and caches, where jobs tell of it.")
    cost_usd: str | None = Field(description="Of the jobs with a known price; null when there are none.")
    unpriced_jobs: int = Field(description="Jobs that succeeded and whose price is not known.")


class UsageReport(Answer):
    """What the tenant used, by UTC days of the jobs' ends."""

    object: Literal["usage"]
    from_: str = Field(alias="from", examples=["2026-11-01"])
    to: str = Field(examples=["2026-11-30"])
    group_by: list[Literal["day", "key", "model", "endpoint", "lane"]]
    data: list[UsageRow]
    total: UsageRow | None = Field(description="All rows together; null when there are none.")
