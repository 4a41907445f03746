"""Requests that ask for `auto`: how they are refused, and what POST /v1/route tells."""

from typing import Any

import pytest

from api import auto
from api.problems import Problem
from api.routes.route import route_as_json
from api.schemas.route import Route, check_route
from core.catalog import load
from policies.catalog import Catalog
from tests.support.servers import REPOSITORY

CHAT = "/v1/chat/completions"
CATALOG: Catalog = load(REPOSITORY / "catalog.toml", "http://127.0.0.1:9")


def chat(*messages: tuple[str, Any], **members: Any) -> dict[str, Any]:
    return {"model": "auto", "messages": [{"role": role, "content": content} for role, content in messages], **members}


PROOF = "Prove that sqrt(2)+sqrt(3) is irrational."


@pytest.mark.parametrize(
    ("endpoint", "body", "code"),
    [
        ("/v1/embeddings", {"model": "auto", "input": "x"}, "unknown_model"),
        (CHAT, chat(("user", "Hi")) | {"model": "auto:quick"}, "unknown_model"),
        (CHAT, chat(("user", "word " * 2_000_000)), "no_model_fits"),
    ],
)
def test_what_can_not_be_routed_is_a_problem_that_says_why(endpoint: str, body: dict[str, Any], code: str) -> None:
    with pytest.raises(Problem) as caught:
        auto.route(endpoint, body, CATALOG)
    assert caught.value.code == code
    assert len(caught.value.detail) > 30


def test_a_catalog_without_auto_says_so() -> None:
    with pytest.raises(Problem, match="unknown_model") as caught:
        auto.route(CHAT, chat(("user", "Hi")), Catalog())
    assert "[auto]" in caught.value.detail


def ask(endpoint: str, body: dict[str, Any]) -> dict[str, Any]:
    told = route_as_json(check_route({"endpoint": endpoint, "body": body}), CATALOG)
    Route.model_validate(told)
    return told


def test_the_answer_names_the_chosen_model_first_and_then_the_others() -> None:
    told = ask(CHAT, chat(("user", "Hello!")))
    assert [model["chosen"] for model in told["considered"]] == [True] + [False] * (len(told["considered"]) - 1)
    assert told["considered"][0]["model"] == told["model"]
    assert told["tier"] == "simple"


def test_a_named_model_is_told_with_how_hard_its_prompt_seems() -> None:
    told = ask(CHAT, chat(("user", PROOF)) | {"model": "sim/chat"})
    assert (told["model"], told["tier"]) == ("sim/chat", "reasoning")
    assert "names its model" in told["reason"]


def test_an_operation_without_a_prompt_has_no_tier() -> None:
    told = ask("/v1/embeddings", {"model": "local/embed", "input": "x"})
    assert (told["tier"], told["confidence"]) == (None, None)


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ([], "invalid_request"),
        ({"endpoint": CHAT}, "invalid_request"),
        ({"endpoint": CHAT, "body": {"model": "auto", "messages": []}}, "invalid_request"),
        ({"endpoint": CHAT, "body": chat(("user", "Hi")), "lane": "bulk"}, "invalid_request"),
        ({"endpoint": CHAT, "body": chat(("user", "Hi")) | {"model": "nobody"}}, "unknown_model"),
        ({"endpoint": "/v1/embeddings", "body": {"model": "sim/chat", "input": "x"}}, "unsupported_endpoint"),
    ],
)
def test_what_is_wrong_with_the_question_is_told(value: Any, code: str) -> None:
    with pytest.raises(Problem) as caught:
        route_as_json(check_route(value), CATALOG)
    assert caught.value.code == code
