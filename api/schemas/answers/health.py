"""Where things are, and how the process is."""

from typing import Literal

from pydantic import BaseModel, Field


class Home(BaseModel):
    """Where things are."""

    name: Literal["Coatcheck"]
    docs: str
    openapi: str


class Alive(BaseModel):
    """The process answers."""

    status: Literal["ok"]


class Ready(BaseModel):
    """Jobs are accepted; `degraded` names what is missing for them to run well."""

    status: Literal["ready", "degraded"]
    degraded: list[str] = Field(examples=[["redis", "lane:bulk"]])
