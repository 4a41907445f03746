"""POST /v1/route over HTTP: nothing is stored, nothing runs."""

from api.schemas.route import Route
from tests.support.api import Caller

CHAT = "/v1/chat/completions"


def asking(text: str, model: str = "auto") -> dict[str, object]:
    return {"endpoint": CHAT, "body": {"model": model, "messages": [{"role": "user", "content": text}]}}


async def test_a_route_is_shown_without_running_anything(caller: Caller) -> None:
    told = await caller.post("/v1/route", 200, asking("Prove that sqrt(2)+sqrt(3) is irrational."))
    Route.model_validate(told)
    assert told["tier"] == "reasoning"
    assert (await caller.get("/v1/jobs"))["data"] == []


async def test_what_is_wrong_with_the_request_is_told(caller: Caller) -> None:
    problem = await caller.post("/v1/route", 422, asking("Hi", "auto:quick"))
    assert problem["error"]["code"] == "unknown_model"
    assert "auto:cheap" in problem["detail"]
    problem = await caller.post("/v1/route", 422, asking("word " * 700_000))
    assert problem["error"]["code"] == "no_model_fits"
