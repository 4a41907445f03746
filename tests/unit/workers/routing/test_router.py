"""Which deployment takes a call, and how much room there is."""

import asyncio
import random
from typing import Any

import pytest

from policies.catalog import Catalog, Deployment, RoutingPolicy
from workers.providers.protocol import ProviderError, UpstreamTiming
from workers.routing.router import Router
from workers.routing.state import DeploymentState, Visit, clock

CHAT, EMBED = "/v1/chat/completions", "/v1/embeddings"


def deployment(name: str, model: str = "m", **changes: Any) -> Deployment:
    return Deployment(**({"name": name, "model": model, "provider": "openai", "base_url": "http://up.test"} | changes))


def router(*deployments: Deployment, slots: int = 4, freed: Any = lambda: None, **policies: RoutingPolicy) -> Router:
    made = Router(Catalog(deployments, policies=policies), freed, rng=random.Random(1))
    for state in made.states.values():
        state.part.slots = slots
    return made


def begin(made: Router, model: str = "m", endpoint: str = CHAT) -> Visit:
    choice = made.choose(model, endpoint)
    assert choice is not None
    return choice.state.begin(endpoint, 0)


def break_down(state: DeploymentState) -> None:
    for _ in range(5):
        visit = state.begin(CHAT, 0)
        visit.failed(ProviderError("upstream_unreachable", "gone", retryable=True))
        visit.left()


def test_room_is_what_is_free_less_what_is_coming() -> None:
    made = router(deployment("a"), deployment("b"), deployment("c", "other"))
    assert made.room() == {"m": 8, "other": 4}
    visit = begin(made)
    made.expect("m")
    assert made.room() == {"m": 6, "other": 4}
    made.arrived("m")
    visit.answered(UpstreamTiming(upstream_ms=1.0), None, None)
    visit.left()
    assert made.room() == {"m": 8, "other": 4}


def test_a_model_that_nobody_knows_has_room_only_while_its_jobs_wait() -> None:
    made = router(deployment("a"))
    made.waiting({"m", "gone"})
    assert made.room() == {"m": 4, "gone": 16}
    made.waiting({"m"})
    assert made.room() == {"m": 4}


def test_jobs_under_an_alias_go_where_the_alias_leads() -> None:
    made = Router(Catalog((deployment("a"),), aliases={"nick": "m"}))
    made.states["a"].part.slots = 4
    made.waiting({"nick"})
    assert made.room() == {"m": 4, "nick": 4}
    choice = made.choose("nick", CHAT)
    assert choice is not None
    assert choice.deployment.name == "a"


def test_one_deployment_is_chosen_without_ado() -> None:
    made = router(deployment("a"))
    choice = made.choose("m", CHAT)
    assert choice is not None
    assert choice.reason == "a is the deployment of m"
    assert made.choose("m", EMBED) is None
    assert not made.serves("m", EMBED)


def test_the_broken_one_is_passed_over_and_the_reason_says_so() -> None:
    made = router(*(deployment(name) for name in "abc"))
    break_down(made.states["b"])
    for _ in range(20):
        choice = made.choose("m", CHAT)
        assert choice is not None
        assert choice.state.name != "b"
        assert choice.reason == "2 of 3 deployments healthy; the quicker of two drawn at random"


def test_of_those_asked_for_only_these_are_chosen() -> None:
    made = router(*(deployment(name) for name in "abc"))
    assert {made.choose("m", CHAT, only=["b"]).state.name for _ in range(20)} == {"b"}  # type: ignore[union-attr]
    assert made.choose("m", CHAT, only=[]) is None


def test_a_prefix_is_worked_out_only_where_a_policy_goes_by_it() -> None:
    def never() -> bytes:
        raise AssertionError

    plain = router(deployment("a"), deployment("b"))
    assert plain.choose("m", CHAT, prefix=never) is not None
    by_prefix = router(deployment("a"), deployment("b"), m=RoutingPolicy(balance="prefix_affinity"))
    chosen = {by_prefix.choose("m", CHAT, prefix=lambda: b"one").state.name for _ in range(9)}  # type: ignore[union-attr]
    assert len(chosen) == 1


def test_the_reason_speaks_of_a_beginning_only_where_the_request_has_one() -> None:
    made = router(deployment("a"), deployment("b"), m=RoutingPolicy(balance="prefix_affinity"))
    told = [made.choose("m", CHAT, prefix=lambda found=found: found) for found in (b"once upon", None)]  # type: ignore[misc]
    assert [choice.reason.partition("; ")[2] for choice in told if choice] == [
        "the one that takes requests with this beginning",
        "the quicker of two drawn at random",
    ]


def test_a_model_whose_deployments_are_away_has_the_room_of_its_fallback() -> None:
    policy = RoutingPolicy(fallbacks={"outage": ("other",)})
    made = router(deployment("a"), deployment("b", "other"), m=policy)
    assert made.fallback("m", CHAT) is None
    break_down(made.states["a"])
    assert made.room() == {"m": 4, "other": 4}
    found = made.fallback("m", CHAT)
    assert found is not None
    assert (found[0], found[1].state.name) == ("other", "b")
    without = router(deployment("a"), deployment("b", "other"))
    break_down(without.states["a"])
    assert without.room() == {"m": 0, "other": 4}
    assert 0.25 <= without.pause_s("m") <= 45


def test_a_model_is_away_for_an_endpoint_when_only_deployments_that_do_not_serve_it_are_left() -> None:
    policy = RoutingPolicy(fallbacks={"outage": ("other",)})
    vectors = deployment("v", endpoints=frozenset({EMBED}))
    made = router(deployment("a"), vectors, deployment("b", "other"), m=policy)
    break_down(made.states["a"])
    assert made.away("m", CHAT)
    assert not made.away("m", EMBED)
    found = made.fallback("m", CHAT)
    assert found is not None
    assert found[0] == "other"
    assert made.fallback("m", EMBED) is None


def test_a_full_model_waits_and_does_not_fall_back() -> None:
    made = router(deployment("a"), deployment("b", "other"), slots=1, m=RoutingPolicy(fallbacks={"outage": ("other",)}))
    begin(made)
    assert made.room() == {"m": 0, "other": 1}
    assert made.fallback("m", CHAT) is None


def test_jobs_that_can_share_a_call_take_a_part_of_a_slot() -> None:
    made = router(deployment("a", endpoints=frozenset({CHAT, EMBED}), merge_items=8), slots=2)
    assert made.room() == {"m": 16}
    visits = [begin(made, endpoint=EMBED) for _ in range(9)]
    assert made.slots_in_use(made.states["a"]) == 2
    assert made.choose("m", CHAT) is None
    for visit in visits:
        visit.answered(UpstreamTiming(upstream_ms=1.0), None, None)
        visit.left()
    begin(made)
    assert made.states["a"].units == 8


def test_a_call_that_several_jobs_shared_and_lost_is_one_failure() -> None:
    made = router(deployment("a", endpoints=frozenset({EMBED}), merge_items=8))
    for visit in [begin(made, endpoint=EMBED) for _ in range(8)]:
        error = ProviderError("upstream_error", "It fell over.", retryable=True)
        error.merged = 8
        visit.failed(error)
        visit.left()
    assert made.states["a"].record.errors == 1
    assert made.room() == {"m": 32}


def test_half_open_lets_a_few_calls_through() -> None:
    made = router(deployment("a"), slots=50)
    breaker = made.states["a"].breaker
    breaker._open_until = 0.0
    breaker._tripped = True
    assert made.room() == {"m": 3}
    visits = [begin(made) for _ in range(3)]
    assert made.room() == {"m": 0}
    visits.pop().left()
    assert made.room() == {"m": 1}
    for visit in visits:
        visit.answered(UpstreamTiming(upstream_ms=1.0), None, None)
        visit.left()
    assert made.room() == {"m": 50}


def test_a_deployment_that_is_well_again_gets_work_again_at_once() -> None:
    """How slow its failures made it look says nothing about it any more."""
    made = router(deployment("a"), deployment("b"), slots=50)
    for _ in range(20):
        visit = made.states["b"].begin(CHAT, 0)
        visit.answered(UpstreamTiming(ttft_ms=10.0, upstream_ms=10.0), None, None)
        visit.left()
        visit = made.states["a"].begin(CHAT, 0)
        visit.failed(ProviderError("upstream_error", "It fell over.", retryable=True))
        visit.left()
    ill = made.states["a"]
    assert ill.breaker.retry_at is not None
    ill.breaker._open_until = 0.0
    assert {begin(made).state.name for _ in range(8)} == {"a", "b"}
    for _ in range(2):
        probe = ill.begin(CHAT, 0)
        probe.answered(UpstreamTiming(ttft_ms=10.0, upstream_ms=10.0), None, None)
        probe.left()
    assert ill.ewma.value(clock()) <= 10.0


@pytest.mark.parametrize(
    ("code", "retryable", "siblings", "trips"),
    [
        ("upstream_error", True, 0, True),
        ("upstream_unreachable", True, 1, True),
        ("unauthorized", False, 1, True),
        # With nowhere else to go the job should say what is wrong instead of waiting for it to pass.
        ("unauthorized", False, 0, False),
        ("invalid_request", False, 1, False),
        ("content_refused", False, 1, False),
        ("rate_limited", True, 1, False),
    ],
)
def test_only_failures_that_speak_against_the_deployment_open_its_breaker(
    code: str, retryable: bool, siblings: int, trips: bool
) -> None:
    made = router(*(deployment(name) for name in "ab"[: siblings + 1]))
    for _ in range(5):
        visit = made.states["a"].begin(CHAT, 0)
        visit.failed(ProviderError(code, "no", retryable=retryable))
        visit.left()
    assert (made.states["a"].breaker.retry_at is not None) is trips


def test_a_catalog_that_changes_keeps_what_is_known_of_those_that_stay() -> None:
    made = router(deployment("a"), deployment("b", "other"))
    begin(made)
    made.adopt(Catalog((deployment("a", max_concurrency=9), deployment("c", "new"))))
    assert made.states["a"].units == 1
    assert made.states["a"].part.ceiling == 9
    assert set(made.room()) == {"m", "new"}
    made.adopt(Catalog((deployment("a", base_url="http://moved.test"),)))
    assert made.states["a"].units == 0


async def test_who_waits_longest_gets_the_next_slot() -> None:
    made = router(deployment("a"), slots=1)
    visit = begin(made)
    order: list[str] = []

    async def wait(name: str) -> None:
        assert await made.until_room("m", 30)
        order.append(name)

    tasks = []
    for name in ("first", "gone", "last"):
        tasks.append(asyncio.create_task(wait(name)))
        await asyncio.sleep(0)
    tasks[1].cancel()
    visit.left()
    made.released(visit.state)
    await tasks[0]
    made.stir()
    await tasks[2]
    assert order == ["first", "last"]
    assert not await made.until_room("m", 0.001)


def test_a_slot_of_a_full_model_is_told_of_when_it_comes_free() -> None:
    freed: list[int] = []
    made = router(deployment("a"), slots=2, freed=lambda: freed.append(1))
    visits = [begin(made) for _ in range(2)]
    for visit in visits:
        visit.left()
        made.released(visit.state)
    assert freed == [1]
