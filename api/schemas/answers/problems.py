"""Errors."""

from pydantic import BaseModel, ConfigDict, Field


class ProblemFault(BaseModel):
    """One thing that is wrong with the payload."""

    pointer: str = Field(
        description="A JSON pointer to it; for a query parameter its name behind a slash, such as `/limit`.",
        examples=["/body/model"],
    )
    detail: str
    line: int | None = Field(None, description="In bulk requests: the line, or the place in the array, counted from 1.")


class OpenAIError(BaseModel):
    """The same in the form that OpenAI's SDKs read."""

    message: str
    type: str
    param: str | None
    code: str


class Problem(BaseModel):
    """An error, as RFC 9457 describes it."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    instance: str
    request_id: str
    error: OpenAIError
    errors: list[ProblemFault] | None = None
    degraded: list[str] | None = Field(None, description="Of /readyz: what is broken.")
