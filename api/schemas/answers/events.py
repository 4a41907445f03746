"""What webhooks bring."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from api.schemas.answers.jobs import Group, Job


class _Event(BaseModel):
    id: str = Field(
        description="The same over all tries and redeliveries; sent as webhook-id too.", examples=["evt_01m7w1…"]
    )
    object: Literal["event"]
    created_at: int = Field(description="Seconds since 1970.")
    timestamp: datetime


class JobEnded(_Event):
    """A job reached its end."""

    type: Literal["job.succeeded", "job.failed", "job.cancelled", "job.expired"]
    data: Job


class GroupCompleted(_Event):
    """The last job of a group reached its end."""

    type: Literal["group.completed"]
    data: Group
