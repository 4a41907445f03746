"""Who is answered from a cache, and what is kept."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.cache_policy import NO_CACHE, NO_RULES, CachePlan, CacheRules, cache_plan, complete

CHAT = "/v1/chat/completions"
FIXED: dict[str, Any] = {"messages": [], "temperature": 0}
VARIED: dict[str, Any] = {"messages": []}


def test_a_request_whose_answer_is_meant_to_vary_passes_the_cache_by() -> None:
    assert cache_plan(None, CHAT, VARIED) == NO_CACHE
    assert NO_CACHE.status == "bypass"


def test_a_request_with_one_right_answer_uses_the_cache_unasked() -> None:
    assert cache_plan(None, CHAT, FIXED) == CachePlan(look=True, keep=True)


def test_whoever_asks_for_caching_gets_it_also_where_answers_vary() -> None:
    plan = cache_plan({"mode": "default", "ttl_s": 60}, CHAT, VARIED)
    assert (plan.look, plan.keep, plan.ttl_s, plan.status) == (True, True, 60, "miss")
    assert plan.shares


def test_refresh_keeps_without_looking_and_shares_no_call() -> None:
    plan = cache_plan({"mode": "refresh"}, CHAT, FIXED)
    assert (plan.look, plan.keep, plan.shares, plan.status) == (False, True, False, "refreshed")


def test_only_looks_without_keeping() -> None:
    plan = cache_plan({"mode": "only"}, CHAT, VARIED)
    assert (plan.look, plan.keep, plan.only, plan.shares) == (True, False, True, False)


def test_off_is_off() -> None:
    assert cache_plan({"mode": "off"}, CHAT, FIXED) == NO_CACHE


@pytest.mark.parametrize("mode", ["default", "refresh"])
def test_a_request_that_does_not_say_all_is_never_cached(mode: str) -> None:
    assert cache_plan({"mode": mode}, "/v1/responses", {"input": "x", "conversation": "conv_1"}) == NO_CACHE


RULES = st.builds(
    CacheRules,
    st.sampled_from([None, "default", "always", "off"]),
    st.sampled_from([None, 60.0]),
    st.sampled_from([None, "off", "on", "shadow"]),
    st.sampled_from([None, 0.5, 0.0]),
)


@given(RULES, RULES)
def test_what_a_key_says_stands_over_what_its_model_says(key: CacheRules, model: CacheRules) -> None:
    merged = key.over(model)
    for name in ("mode", "ttl_s", "semantic", "threshold"):
        said = getattr(key, name)
        assert getattr(merged, name) == (getattr(model, name) if said is None else said)
    assert CacheRules.of(merged.told()) == merged


@given(RULES)
def test_rules_never_cache_what_does_not_say_all(rules: CacheRules) -> None:
    assert cache_plan(None, "/v1/responses", {"input": "x", "conversation": "conv_1"}, rules) == NO_CACHE


@pytest.mark.parametrize(
    ("mode", "body", "looked"),
    [
        ("always", VARIED, True),
        ("default", VARIED, False),
        ("default", FIXED, True),
        ("off", FIXED, False),
        (None, FIXED, True),
    ],
)
def test_a_model_says_whether_requests_that_say_nothing_are_cached(
    mode: str, body: dict[str, Any], looked: bool
) -> None:
    plan = cache_plan(None, CHAT, body, CacheRules(mode=mode, ttl_s=60))
    assert (plan.look, plan.keep, plan.ttl_s) == (looked, looked, 60 if looked else None)


def test_the_request_decides_over_all_rules() -> None:
    rules = CacheRules("off", 60, "shadow", 0.5)
    asked = cache_plan({"ttl_s": 5, "semantic": True, "threshold": 0.0}, CHAT, VARIED, rules)
    assert asked == CachePlan(look=True, keep=True, ttl_s=5, semantic="on", threshold=0.0)
    declined = cache_plan({"semantic": False}, CHAT, VARIED, rules)
    assert (declined.semantic, declined.threshold, declined.ttl_s) == ("off", None, 60)
    assert cache_plan({"mode": "off"}, CHAT, FIXED, CacheRules("always", None, "on")) == NO_CACHE
    left = cache_plan({}, CHAT, VARIED, rules)
    assert (left.semantic, left.threshold) == ("shadow", 0.5)


def test_only_takes_near_answers_too_where_they_are_wanted() -> None:
    plan = cache_plan({"mode": "only"}, CHAT, VARIED, CacheRules(semantic="on"))
    assert (plan.only, plan.semantic) == (True, "on")
    assert cache_plan({"mode": "only"}, CHAT, VARIED, NO_RULES).semantic == "off"


def chat(reason: str | None, **message: Any) -> dict[str, Any]:
    return {
        "choices": [{"index": 0, "finish_reason": reason, "message": {"role": "assistant", "content": "x"} | message}]
    }


@pytest.mark.parametrize(
    ("request_", "answer", "whole"),
    [
        ({}, chat("stop"), True),
        ({}, chat("tool_calls"), True),
        ({}, chat("content_filter"), False),
        ({}, chat(None), False),
        ({}, chat("stop", refusal="I won't."), False),
        ({"max_tokens": 5}, chat("length"), True),
        ({"max_completion_tokens": 5}, chat("length"), True),
        # Nobody asked for this end: another upstream would have said more.
        ({}, chat("length"), False),
        ({}, {"choices": []}, False),
        ({}, {}, False),
        ({}, {"error": {"message": "no"}} | chat("stop"), False),
        ({}, {"choices": [*chat("stop")["choices"], *chat("content_filter")["choices"]]}, False),
    ],
)
def test_only_a_whole_chat_is_kept(request_: dict[str, Any], answer: dict[str, Any], whole: bool) -> None:
    assert complete(CHAT, request_, answer) is whole


MESSAGE = {"type": "message", "content": [{"type": "output_text", "text": "x"}]}
CUT = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}, "output": [MESSAGE]}


@pytest.mark.parametrize(
    ("request_", "answer", "whole"),
    [
        ({}, {"status": "completed", "output": [MESSAGE]}, True),
        ({}, {"status": "completed", "output": []}, False),
        ({}, {"status": "failed", "output": [MESSAGE]}, False),
        ({}, {"status": "completed", "output": [{"type": "message", "content": [{"type": "refusal"}]}]}, False),
        ({}, CUT, False),
        ({"max_output_tokens": 16}, CUT, True),
        ({"max_output_tokens": 16}, CUT | {"incomplete_details": {"reason": "content_filter"}}, False),
    ],
)
def test_only_a_whole_response_is_kept(request_: dict[str, Any], answer: dict[str, Any], whole: bool) -> None:
    assert complete("/v1/responses", request_, answer) is whole


@pytest.mark.parametrize(
    ("endpoint", "member"), [("/v1/embeddings", "data"), ("/v1/moderations", "results"), ("/v1/rerank", "results")]
)
def test_a_list_is_kept_when_it_holds_something(endpoint: str, member: str) -> None:
    assert complete(endpoint, {}, {member: [{}]})
    assert not complete(endpoint, {}, {member: []})
    assert not complete(endpoint, {}, {})
