"""What answers have in common."""

from typing import Literal

from pydantic import BaseModel, ConfigDict


class Answer(BaseModel):
    """Something that may get more members: readers pass over those they don't know."""

    model_config = ConfigDict(extra="allow")


class Page(BaseModel):
    """A part of a list. Go on with ``?after=`` the ``last_id``."""

    object: Literal["list"]
    has_more: bool
    first_id: str | None
    last_id: str | None
