"""What is read from a request that asks for `auto`."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import auto
from core.catalog import load
from policies.auto import NotRoutable
from policies.catalog import Catalog
from tests.support.servers import REPOSITORY

CHAT = "/v1/chat/completions"
CATALOG: Catalog = load(REPOSITORY / "catalog.toml", "http://127.0.0.1:9")
PROOF = "Prove that sqrt(2)+sqrt(3) is irrational."


def chat(*messages: tuple[str, Any], **members: Any) -> dict[str, Any]:
    return {"model": "auto", "messages": [{"role": role, "content": content} for role, content in messages], **members}


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


def test_only_text_can_be_routed() -> None:
    with pytest.raises(NotRoutable):
        auto.route("/v1/embeddings", {"model": "auto", "input": "x"}, CATALOG)


def test_the_quickest_deployment_speaks_for_its_model() -> None:
    names = [deployment.name for deployment in CATALOG.deployments_for("sim/trio")]
    workers: list[dict[str, object]] = [
        {"deployments": {names[0]: {"ttft_ms": {"p50": 300.0}}, names[1]: {"ttft_ms": {"p50": 100}}}},
        {"deployments": {names[2]: {"ttft_ms": {"p50": None}}, "gone": {}}},
        {"deployments": None},
        {},
    ]
    assert auto.ttft_by_model(CATALOG, workers) == {"sim/trio": 0.1}


async def test_the_model_can_be_loaded_beside_the_event_loop() -> None:
    await asyncio.to_thread(auto.warm)
