import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.balancing import (
    PREFIX_BYTES,
    STRATEGIES,
    Candidate,
    PeakEwma,
    choose,
    load_bounds,
    prefix_of,
)
from policies.catalog import BALANCES

seeds = st.integers().map(random.Random)
strategies = st.sampled_from(sorted(STRATEGIES))
prefixes = st.binary(min_size=1, max_size=40)


def candidate(name: str, **more: object) -> Candidate:
    plain = Candidate(name, None, 1.0, 0, None, 0.0, None, None)
    return replace(plain, **more)  # type: ignore[arg-type]


candidates = st.lists(
    st.builds(
        Candidate,
        name=st.sampled_from([f"replica-{number}" for number in range(12)]),
        region=st.sampled_from([None, "eu", "us", "asia"]),
        weight=st.sampled_from([0.0, 0.5, 1.0, 3.0]),
        in_flight=st.integers(0, 50),
        free=st.none() | st.integers(-1, 5),
        ewma_ms=st.floats(0, 10_000),
        ttft_ms=st.none() | st.floats(0, 10_000),
        price=st.none() | st.decimals(0, 100, places=2),
    ),
    min_size=1,
    max_size=12,
    unique_by=lambda each: each.name,
)


@given(strategies, candidates, seeds, st.none() | prefixes, st.lists(st.sampled_from(["eu", "us"]), unique=True))
def test_whoever_is_chosen_has_room_unless_nobody_has(
    strategy: str, given_: Sequence[Candidate], rng: random.Random, prefix: bytes | None, regions: list[str]
) -> None:
    chosen = choose(strategy, given_, rng, prefix=prefix, regions=regions)
    assert chosen in given_
    in_use = [each for each in given_ if each.weight > 0]
    assert chosen.weight > 0 or not in_use
    assert chosen.has_room or not any(each.has_room for each in in_use or given_)


@given(strategies, candidates, seeds, st.none() | prefixes, st.permutations(["eu", "us", "asia"]))
def test_the_first_region_with_room_takes_the_call(
    strategy: str, given_: Sequence[Candidate], rng: random.Random, prefix: bytes | None, regions: list[str]
) -> None:
    given_ = [replace(each, weight=1.0) for each in given_]
    chosen = choose(strategy, given_, rng, prefix=prefix, regions=regions)
    with_room = {each.region for each in given_ if each.has_room}
    expected = next((region for region in [*regions, None] if region in with_room), "nowhere")
    assert expected in {chosen.region, "nowhere"}


def test_regions_that_nobody_prefers_come_last() -> None:
    full = candidate("near", region="eu", free=0)
    far = candidate("far", region="mars", in_flight=9, free=1)
    assert choose("peak_ewma", [full, far], random.Random(1), regions=("eu",)) is far


def test_every_way_of_balancing_that_a_catalog_may_name_is_known() -> None:
    assert STRATEGIES == BALANCES


def test_nothing_to_choose_from_and_unknown_strategies_are_errors() -> None:
    with pytest.raises(ValueError, match="nothing"):
        choose("peak_ewma", [], random.Random(1))
    with pytest.raises(ValueError, match="unknown strategy"):
        choose("best", [candidate("a")], random.Random(1))


@given(seeds)
def test_of_two_the_one_with_the_lower_latency_times_load_by_weight_is_taken(rng: random.Random) -> None:
    quick, slow = candidate("quick", ewma_ms=100, in_flight=3), candidate("slow", ewma_ms=300, in_flight=0)
    assert choose("peak_ewma", [quick, slow], rng) is slow
    assert choose("peak_ewma", [quick, replace(slow, ewma_ms=500.0)], rng) is quick
    heavy = replace(quick, weight=2.0)
    assert choose("peak_ewma", [heavy, slow], rng) is heavy


@given(seeds, st.integers(1, 20))
def test_a_deployment_that_has_not_answered_yet_is_tried_and_not_flooded(rng: random.Random, busy: int) -> None:
    known = candidate("known", ewma_ms=200, in_flight=busy)
    assert choose("peak_ewma", [known, candidate("new")], rng).name == "new"
    assert choose("peak_ewma", [known, candidate("new", in_flight=busy + 1)], rng) is known


@given(candidates, seeds)
def test_two_random_choices_never_take_the_worst_of_three_or_more(
    given_: Sequence[Candidate], rng: random.Random
) -> None:
    ranked = [replace(each, weight=1.0, free=None, in_flight=0, ewma_ms=1.0 + n) for n, each in enumerate(given_)]
    chosen = choose("peak_ewma", ranked, rng)
    assert len(ranked) == 1 or chosen.ewma_ms < len(ranked)


@given(candidates, seeds)
def test_least_in_flight_looks_at_load_by_weight(given_: Sequence[Candidate], rng: random.Random) -> None:
    open_ = [replace(each, free=None) for each in given_ if each.weight > 0] or [candidate("a")]
    chosen = choose("least_in_flight", open_, rng)
    assert all((chosen.in_flight + 1) / chosen.weight <= (each.in_flight + 1) / each.weight for each in open_)


@given(st.lists(st.integers(1, 9), min_size=2, max_size=6), st.integers())
def test_weighted_shares_converge_to_the_weights(weights: list[int], seed: int) -> None:
    rng = random.Random(seed)
    pool = [candidate(str(number), weight=weight) for number, weight in enumerate(weights)]
    draws = 3000
    counts = Counter(choose("weighted", pool, rng).name for _ in range(draws))
    for each in pool:
        share = each.weight / sum(weights)
        # Six standard deviations: chance alone does not break this.
        assert abs(counts[each.name] / draws - share) <= 6 * (share * (1 - share) / draws) ** 0.5


@given(candidates, seeds)
def test_cheapest_takes_the_lowest_known_price_with_room(given_: Sequence[Candidate], rng: random.Random) -> None:
    open_ = [replace(each, weight=1.0) for each in given_]
    chosen = choose("cheapest", open_, rng)
    prices = [each.price for each in open_ if each.has_room and each.price is not None]
    if prices:
        assert chosen.price == min(prices)


def test_when_the_cheapest_is_full_the_next_dearer_one_is_taken() -> None:
    cheap = candidate("cheap", price=Decimal("0.10"), free=0)
    middle = candidate("middle", price=Decimal("0.50"))
    pool = [candidate("unknown"), candidate("dear", price=Decimal(2)), middle, cheap]
    assert choose("cheapest", pool, random.Random(1)) is middle


def test_lowest_ttft_measures_the_unmeasured_first_and_looks_at_others_now_and_then() -> None:
    rng = random.Random(1)
    quick, slow = candidate("quick", ttft_ms=50.0), candidate("slow", ttft_ms=90.0)
    assert choose("lowest_ttft", [quick, slow, candidate("new")], rng).name == "new"
    assert choose("lowest_ttft", [quick, candidate("new", in_flight=1)], random.Random(2)) is quick
    counts = Counter(choose("lowest_ttft", [quick, slow], rng).name for _ in range(2000))
    assert 0 < counts["slow"] < 100


@given(st.integers(2, 10), st.lists(st.integers(0, 30), min_size=40, max_size=120), st.data())
def test_no_replica_is_ever_above_its_bound(replicas: int, arrivals: list[int], data: st.DataObject) -> None:
    """Prefixes as skewed as can be, calls that end in any order: the bound holds at every arrival."""
    weights = [data.draw(st.sampled_from([1.0, 2.0])) for _ in range(replicas)]
    ends = data.draw(st.randoms(use_true_random=False))
    under_way: list[str] = []
    for key in arrivals:
        loads = Counter(under_way)
        pool = [candidate(f"r{n}", weight=weight, in_flight=loads[f"r{n}"]) for n, weight in enumerate(weights)]
        chosen = choose("prefix_affinity", pool, ends, prefix=b"%d" % (key // 10))
        assert loads[chosen.name] + 1 <= load_bounds(pool)[chosen.name]
        under_way.append(chosen.name)
        if ends.random() < 0.4:
            under_way.pop(ends.randrange(len(under_way)))


@given(st.integers(2, 10), st.lists(prefixes, min_size=1, max_size=100, unique=True), seeds, st.data())
def test_when_a_replica_leaves_only_its_keys_move(
    replicas: int, keys: list[bytes], rng: random.Random, data: st.DataObject
) -> None:
    pool = [candidate(f"r{number}") for number in range(replicas)]
    gone = data.draw(st.sampled_from(pool))
    rest = data.draw(st.permutations([each for each in pool if each is not gone]))
    for key in keys:
        before = choose("prefix_affinity", pool, rng, prefix=key)
        after = choose("prefix_affinity", rest, rng, prefix=key)
        assert before is gone or after is before


def test_keys_spread_over_the_ring() -> None:
    pool = [candidate(f"r{number}") for number in range(8)]
    rng = random.Random(1)
    counts = Counter(choose("prefix_affinity", pool, rng, prefix=b"key %d" % number).name for number in range(4000))
    assert len(counts) == 8
    assert max(counts.values()) < 4000 / 8 * 1.4


@given(prefixes, seeds, st.integers(2, 8))
def test_a_full_or_crowded_replica_hands_on_to_the_next_of_the_ring_and_always_to_the_same(
    key: bytes, rng: random.Random, replicas: int
) -> None:
    pool = [candidate(f"r{number}") for number in range(replicas)]
    home = choose("prefix_affinity", pool, rng, prefix=key)
    full = choose(
        "prefix_affinity", [replace(each, free=0) if each is home else each for each in pool], rng, prefix=key
    )
    crowd = [replace(each, in_flight=9) if each is home else each for each in pool]
    crowded = choose("prefix_affinity", crowd, rng, prefix=key)
    without = choose("prefix_affinity", [each for each in pool if each is not home], rng, prefix=key)
    assert home.name != full.name == crowded.name == without.name


def test_when_all_within_their_bound_are_full_one_with_room_is_taken_all_the_same() -> None:
    pool = [candidate("a", in_flight=9), candidate("b", free=0), candidate("c", free=0)]
    assert choose("prefix_affinity", pool, random.Random(1), prefix=b"x").name == "a"


@given(st.lists(st.tuples(st.floats(0, 60), st.floats(0, 5000)), min_size=1, max_size=50))
def test_a_peak_shows_at_once_and_fades_but_never_below_what_is_seen_since(steps: list[tuple[float, float]]) -> None:
    ewma, now, highest = PeakEwma(10.0), 0.0, 0.0
    for pause, ms in steps:
        now += pause
        highest = max(highest, ms)
        ewma.observe(ms, now)
        assert ms - 1e-6 <= ewma.value(now) <= highest + 1e-6
        assert ewma.value(now + 10) <= ewma.value(now) / 2.7


def test_a_slow_answer_is_forgotten_over_the_decay_time() -> None:
    ewma = PeakEwma(10.0)
    assert ewma.value(5.0) == 0
    ewma.observe(2000, 0.0)
    for second in range(1, 31):
        ewma.observe(200, float(second))
    assert 250 < ewma.value(30.0) < 400


def test_no_observation_keeps_a_deployment_away_for_more_than_minutes() -> None:
    ewma = PeakEwma(10.0)
    for _ in range(2000):
        ewma.observe(2 * ewma.value(0.0) + 1000, 0.0)
    assert ewma.value(100.0) < 10


def chat(*messages: tuple[str, object]) -> dict[str, object]:
    return {"messages": [{"role": role, "content": content} for role, content in messages]}


texts = st.text(max_size=300)


@given(texts, texts, st.lists(st.tuples(st.sampled_from(["assistant", "user"]), texts), max_size=5))
def test_all_turns_of_a_conversation_have_one_prefix(system: str, first: str, more: list[tuple[str, str]]) -> None:
    begun = chat(("system", system), ("user", first))
    grown = chat(("system", system), ("user", first), *more)
    assert prefix_of("/v1/chat/completions", begun) == prefix_of("/v1/chat/completions", grown)


@given(texts, texts, texts, texts)
def test_different_beginnings_have_different_prefixes(one: str, two: str, three: str, four: str) -> None:
    left = prefix_of("/v1/chat/completions", chat(("system", one), ("user", two)))
    right = prefix_of("/v1/chat/completions", chat(("system", three), ("user", four)))
    signs = {"\0", "\1"} & set(one + two + three + four)
    assert signs or (left == right) == ((one, two) == (three, four))


def test_conversations_under_one_long_system_message_are_told_apart() -> None:
    long = "You are the cloakroom's assistant. " * 100
    one = prefix_of("/v1/chat/completions", chat(("system", long), ("user", "My coat?")))
    two = prefix_of("/v1/chat/completions", chat(("system", long), ("user", "My hat?")))
    assert one != two
    assert one is not None and two is not None and one[: PREFIX_BYTES // 2] == two[: PREFIX_BYTES // 2]


def test_questions_on_one_long_document_share_their_prefix() -> None:
    document = "Whoever hands in a coat gets a number. " * 100
    one = prefix_of("/v1/chat/completions", chat(("system", "Brief."), ("user", document + "Who gets a number?")))
    two = prefix_of("/v1/chat/completions", chat(("system", "Brief."), ("user", document + "And for what?")))
    assert one == two


def test_images_are_told_apart_without_being_read() -> None:
    def asked(data: str) -> bytes | None:
        part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
        return prefix_of("/v1/chat/completions", chat(("user", [{"type": "text", "text": "What is it?"}, part])))

    assert asked("A" * 5_000_000) == asked("A" * 5_000_000) != asked("A" * 4_999_999 + "B")


@pytest.mark.parametrize(
    ("endpoint", "body", "same"),
    [
        (
            "/v1/responses",
            {"instructions": "Be brief.", "input": "Hello"},
            {"instructions": "Be brief.", "input": "Hello"},
        ),
        (
            "/v1/responses",
            {"input": [{"role": "user", "content": "Hi"}]},
            {"input": [{"role": "user", "content": "Hi"}]},
        ),
        ("/v1/completions", {"prompt": "Once"}, {"prompt": "Once", "max_tokens": 3}),
        ("/v1/chat/completions", {"prompt_cache_key": "k", "messages": []}, {"prompt_cache_key": "k", "messages": [1]}),
    ],
)
def test_each_endpoint_has_its_leading_part(endpoint: str, body: dict[str, object], same: dict[str, object]) -> None:
    assert prefix_of(endpoint, body) == prefix_of(endpoint, same) is not None


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=15,
)


@given(
    st.sampled_from(["/v1/chat/completions", "/v1/responses", "/v1/completions", "/v1/embeddings"]),
    st.dictionaries(st.sampled_from(["messages", "input", "instructions", "prompt", "prompt_cache_key"]), json),
)
def test_no_body_breaks_it_and_the_prefix_is_capped(endpoint: str, body: dict[str, object]) -> None:
    prefix = prefix_of(endpoint, body)
    assert prefix is None or 0 < len(prefix) <= PREFIX_BYTES
