"""What is read from a request that asks for `auto`."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


def test_the_last_user_message_is_what_is_judged() -> None:
    body = chat(("system", "Be brief."), ("user", PROOF), ("assistant", "…"), ("user", "Thank you very much! " * 4))
    assert auto.prompt_of(body).startswith("Thank you")


def test_a_short_follow_up_is_judged_together_with_what_it_goes_on_from() -> None:
    body = chat(("user", PROOF), ("assistant", "…"), ("user", "And for sqrt(5)?"))
    assert auto.prompt_of(body) == f"{PROOF}\n\nAnd for sqrt(5)?"


def test_the_system_speaks_where_no_user_does() -> None:
    assert auto.prompt_of(chat(("system", PROOF))) == PROOF


@pytest.mark.parametrize(
    "body",
    [
        chat(("user", [{"type": "text", "text": PROOF}, {"type": "image_url", "image_url": {"url": "data:,"}}])),
        {"input": PROOF},
        {"instructions": "Be brief.", "input": [{"role": "user", "content": [{"type": "input_text", "text": PROOF}]}]},
        {"prompt": PROOF},
        {"prompt": ["Hello.", PROOF * 2]},
    ],
)
def test_the_prompt_is_found_in_every_operation_s_request(body: dict[str, Any]) -> None:
    assert PROOF in auto.prompt_of(body)


@pytest.mark.parametrize(
    ("members", "needed"),
    [
        ({}, set()),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, {"tools"}),
        ({"tools": []}, set()),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, {"json"}),
        ({"response_format": {"type": "text"}}, set()),
        ({"text": {"format": {"type": "json_object"}}}, {"json"}),
        ({"reasoning_effort": "high"}, {"reasoning"}),
        ({"reasoning": {"effort": "none"}}, set()),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, {"vision"}),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, {"vision"}),
    ],
)
def test_abilities_are_read_from_the_request_s_members(members: dict[str, Any], needed: set[str]) -> None:
    body = members if "input" in members else chat(("user", "Hi")) | members
    assert auto.needs_of(CHAT, body).capabilities == needed


def test_room_is_needed_for_the_whole_conversation_and_for_the_answer() -> None:
    asked = auto.needs_of(CHAT, chat(("user", "word " * 4000), ("user", "Hi"), max_tokens=50))
    assert asked.input_tokens > 3000
    assert asked.max_output_tokens == 50


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["role", "content", "type", "text", "format", "effort"]), inner, max_size=3)
    ),
    max_leaves=10,
)
MEMBERS = ["messages", "input", "prompt", "tools", "response_format", "text", "reasoning", "max_tokens", "instructions"]


@given(st.dictionaries(st.sampled_from(MEMBERS), JSON))
def test_no_request_breaks_the_reading(body: dict[str, Any]) -> None:
    auto.prompt_of(body)
    auto.needs_of(CHAT, body)


def test_a_request_that_names_its_model_is_left_alone() -> None:
    assert auto.route(CHAT, chat(("user", "Hi")) | {"model": "sim/chat"}, CATALOG) is None


def test_hard_prompts_get_a_larger_model_than_easy_ones() -> None:
    easy = auto.route(CHAT, chat(("user", "Hello!")), CATALOG)
    hard = auto.route(CHAT, chat(("user", PROOF)), CATALOG)
    assert easy is not None
    assert hard is not None
    assert (easy.tier, hard.tier) == ("simple", "reasoning")
    assert easy.model != hard.model
    assert auto.as_route(hard).keys() == {"model", "tier", "confidence", "reason"}


def test_a_prompt_without_text_is_taken_for_complex() -> None:
    decision = auto.route("/v1/completions", {"model": "auto", "prompt": [[1, 2, 3]]}, CATALOG)
    assert decision is not None
    assert decision.tier == "complex"


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


def test_the_quickest_deployment_speaks_for_its_model() -> None:
    names = [deployment.name for deployment in CATALOG.deployments_for("sim/trio")]
    workers: list[dict[str, object]] = [
        {"deployments": {names[0]: {"ttft_ms": {"p50": 300.0}}, names[1]: {"ttft_ms": {"p50": 100}}}},
        {"deployments": {names[2]: {"ttft_ms": {"p50": None}}, "gone": {}}},
        {"deployments": None},
        {},
    ]
    assert auto.ttft_by_model(CATALOG, workers) == {"sim/trio": 0.1}


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


async def test_the_model_can_be_loaded_beside_the_event_loop() -> None:
    await asyncio.to_thread(auto.warm)
