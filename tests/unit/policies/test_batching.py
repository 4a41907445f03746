import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from policies.batching import (
    Unsplittable,
    apportion,
    bisect,
    estimated_tokens,
    items,
    may_blame_one,
    merge,
    merge_key,
    pack,
    split,
    split_usage,
)

EMBED, MODERATE, COMPLETE, RERANK = "/v1/embeddings", "/v1/moderations", "/v1/completions", "/v1/rerank"
FIELD = {EMBED: "input", MODERATE: "input", COMPLETE: "prompt", RERANK: "documents"}
LISTS = {EMBED: "data", MODERATE: "results", COMPLETE: "choices", RERANK: "results"}

words = st.text("abc de", min_size=1, max_size=30)
texts = st.lists(words, min_size=1, max_size=5)
endpoints = st.sampled_from([EMBED, MODERATE, COMPLETE, RERANK])


@st.composite
def jobs(draw: st.DrawFn, endpoint: str) -> list[dict[str, Any]]:
    """Bodies that may share a call."""
    common: dict[str, Any] = {"model": "m"} | draw(st.sampled_from([{}, {"user": "u"}, {"dimensions": 8}]))
    if endpoint == RERANK:
        common["query"] = draw(words)
    bodies = []
    for given_ in draw(st.lists(texts, min_size=1, max_size=6)):
        # A single text may also stand without a list.
        bare = endpoint != RERANK and len(given_) == 1 and draw(st.booleans())
        body = {**common, FIELD[endpoint]: given_[0] if bare else given_}
        if endpoint == RERANK and draw(st.booleans()):
            body["top_n"] = draw(st.integers(1, 6))
        bodies.append(body)
    return bodies


def listed(endpoint: str, body: dict[str, Any]) -> list[Any]:
    found = body[FIELD[endpoint]]
    return found if isinstance(found, list) else [found]


def answer(endpoint: str, body: dict[str, Any], rank: list[int] | None = None) -> dict[str, Any]:
    """What an honest upstream says: every part names the item that it belongs to."""
    given_ = listed(endpoint, body)
    parts: list[dict[str, Any]] = [{"index": index, "about": item, "text": item} for index, item in enumerate(given_)]
    if endpoint == MODERATE:
        parts = [{"about": item} for item in given_]
    if endpoint == RERANK:
        order = rank or list(range(len(parts)))
        parts = [parts[index] for index in order][: body.get("top_n")]
    reply: dict[str, Any] = {"id": "x", "model": "up", LISTS[endpoint]: parts}
    if endpoint != MODERATE:
        asked = estimated_tokens(endpoint, body) * 3
        made = 7 * len(given_) if endpoint == COMPLETE else 0
        reply["usage"] = {"prompt_tokens": asked, "total_tokens": asked + made} | (
            {"completion_tokens": made} if made else {}
        )
    return reply


@given(st.data(), endpoints)
def test_each_job_gets_what_it_would_have_got_alone(data: st.DataObject, endpoint: str) -> None:
    bodies = data.draw(jobs(endpoint))
    assert len({merge_key(endpoint, body) for body in bodies}) == 1
    merged = merge(endpoint, bodies)
    assert items(endpoint, merged) == sum(items(endpoint, body) for body in bodies)
    for body, part in zip(bodies, split(endpoint, answer(endpoint, merged), bodies), strict=True):
        alone = answer(endpoint, body)
        assert part[LISTS[endpoint]] == alone[LISTS[endpoint]]
        assert (part["id"], part["model"]) == ("x", "up")


@given(st.data(), st.sampled_from([EMBED, COMPLETE]))
def test_answers_are_mapped_by_index_and_never_by_place(data: st.DataObject, endpoint: str) -> None:
    bodies = data.draw(jobs(endpoint))
    reply = answer(endpoint, merge(endpoint, bodies))
    reply[LISTS[endpoint]] = data.draw(st.permutations(reply[LISTS[endpoint]]))
    for body, part in zip(bodies, split(endpoint, reply, bodies), strict=True):
        assert part[LISTS[endpoint]] == answer(endpoint, body)[LISTS[endpoint]]


@given(st.data())
def test_a_rerank_keeps_each_jobs_order_and_top_n(data: st.DataObject) -> None:
    bodies = data.draw(jobs(RERANK))
    merged = merge(RERANK, bodies)
    assert "top_n" not in merged
    rank = data.draw(st.permutations(range(items(RERANK, merged))))
    parts = split(RERANK, answer(RERANK, merged, list(rank)), bodies)
    start = 0
    for body, part in zip(bodies, parts, strict=True):
        size = items(RERANK, body)
        own = [index - start for index in rank if start <= index < start + size]
        assert [result["index"] for result in part["results"]] == own[: body.get("top_n")]
        start += size


@given(st.data(), endpoints)
def test_an_answer_without_exactly_one_part_for_each_item_is_refused(data: st.DataObject, endpoint: str) -> None:
    bodies = data.draw(jobs(endpoint))
    reply = answer(endpoint, merge(endpoint, bodies))
    parts = reply[LISTS[endpoint]]
    harm = data.draw(st.sampled_from(["missing", "doubled", "none"]))
    reply[LISTS[endpoint]] = {"missing": parts[:-1], "doubled": [*parts, parts[0]], "none": None}[harm]
    with pytest.raises(Unsplittable):
        split(endpoint, reply, bodies)


@given(st.data(), st.sampled_from([EMBED, COMPLETE, RERANK]))
def test_an_index_that_is_wrong_is_refused(data: st.DataObject, endpoint: str) -> None:
    bodies = data.draw(jobs(endpoint))
    reply = answer(endpoint, merge(endpoint, bodies))
    reply[LISTS[endpoint]][0]["index"] = data.draw(st.sampled_from([-1, 10**6, "0", None, True, 0.0]))
    with pytest.raises(Unsplittable):
        split(endpoint, reply, bodies)


@given(st.data(), st.sampled_from([EMBED, COMPLETE, RERANK]))
def test_the_usage_of_the_jobs_adds_up_to_the_wholes(data: st.DataObject, endpoint: str) -> None:
    bodies = data.draw(jobs(endpoint))
    reply = answer(endpoint, merge(endpoint, bodies))
    parts = split(endpoint, reply, bodies)
    for name, whole in reply["usage"].items():
        assert sum(part["usage"][name] for part in parts) == whole
    for part in parts:
        usage = part["usage"]
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage.get("completion_tokens", 0)


counts = st.integers(0, 10**6)


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=20), counts)
def test_whole_numbers_are_apportioned_fairly_and_exactly(weights: list[int], whole: int) -> None:
    parts = apportion(whole, weights)
    assert sum(parts) == whole and min(parts) >= 0
    total = sum(weights)
    if total:
        assert all(abs(part - whole * weight / total) < 1 for part, weight in zip(parts, weights, strict=True))


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=20), counts, counts, st.data())
def test_no_job_has_more_cached_tokens_than_tokens(
    weights: list[int], asked: int, made: int, data: st.DataObject
) -> None:
    cached = data.draw(st.integers(0, asked))
    usage = {
        "prompt_tokens": asked, "completion_tokens": made, "total_tokens": asked + made, "cost": 0.25,
        "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": None},
    }  # fmt: skip
    shares = split_usage(usage, weights, [weight + 1 for weight in weights])
    assert sum(share["prompt_tokens_details"]["cached_tokens"] for share in shares) == cached
    for share in shares:
        assert share["prompt_tokens_details"]["cached_tokens"] <= share["prompt_tokens"]
        assert share["total_tokens"] == share["prompt_tokens"] + share["completion_tokens"]
        assert "cost" not in share  # not a whole number: nobody can say whose it is


def test_what_the_whole_says_beside_its_parts_stays_with_nobody() -> None:
    # A warning may quote another tenant's text.
    bodies = [{"input": "mine"}, {"input": "yours"}]
    reply = answer(EMBED, merge(EMBED, bodies)) | {"warnings": ["`yours` was cut"], "meta": {"echo": ["mine", "yours"]}}
    assert all(set(part) == {"id", "model", "data", "usage"} for part in split(EMBED, reply, bodies))


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        ("/v1/chat/completions", {"messages": []}),
        ("/v1/responses", {"input": "a"}),
        (COMPLETE, {"prompt": "a", "stream": True}),
        (COMPLETE, {"prompt": "a", "n": 2}),
        (COMPLETE, {"prompt": "a", "best_of": 3}),
        (COMPLETE, {"prompt": "a", "seed": 7}),
        (EMBED, {"input": []}),
        (EMBED, {"input": None}),
        (EMBED, {}),
        (EMBED, {"input": ["a", 1]}),
        (EMBED, {"input": ["a", [1]]}),
        (EMBED, {"input": [True]}),
        (EMBED, {"input": [[]]}),
        (EMBED, {"input": [{"text": "a"}]}),
        (MODERATE, {"input": [{"type": "text", "text": "a"}]}),
        (MODERATE, {"input": [1, 2]}),
        (RERANK, {"query": "q", "documents": [1]}),
        (RERANK, {"query": "q", "documents": ["a"], "top_n": 0}),
        (RERANK, {"query": "q", "documents": ["a"], "top_n": "2"}),
    ],
)
def test_what_must_have_a_call_of_its_own_has_no_key(endpoint: str, body: dict[str, Any]) -> None:
    assert merge_key(endpoint, body) is None


@pytest.mark.parametrize(
    ("endpoint", "one", "other", "together"),
    [
        (EMBED, {"input": "a", "model": "alias"}, {"input": ["b", "c"], "model": "m", "stream": False}, True),
        (EMBED, {"input": [1, 2]}, {"input": [[3], [4]]}, True),
        (EMBED, {"input": [1, 2]}, {"input": "a"}, False),
        (EMBED, {"input": "a", "dimensions": 8}, {"input": "a", "dimensions": 9}, False),
        (EMBED, {"input": "a", "encoding_format": "base64"}, {"input": "a"}, False),
        (EMBED, {"input": "a", "user": "x"}, {"input": "a", "user": "y"}, False),
        (COMPLETE, {"prompt": "a", "max_tokens": 5}, {"prompt": "b", "max_tokens": 6}, False),
        (COMPLETE, {"prompt": "a", "n": 1}, {"prompt": [5, 6], "n": 1}, False),
        (RERANK, {"query": "q", "documents": ["a"], "top_n": 1}, {"query": "q", "documents": ["b"]}, True),
        (RERANK, {"query": "q", "documents": ["a"]}, {"query": "r", "documents": ["a"]}, False),
        (RERANK, {"query": "q", "documents": ["a"]}, {"query": "q", "documents": [{"text": "a"}]}, False),
    ],
)
def test_jobs_share_a_call_when_all_but_their_items_is_equal(
    endpoint: str, one: dict[str, Any], other: dict[str, Any], together: bool
) -> None:
    keys = merge_key(endpoint, one), merge_key(endpoint, other)
    assert None not in keys
    assert (keys[0] == keys[1]) is together


@given(st.dictionaries(st.sampled_from(["user", "dimensions", "x"]), st.integers() | words | st.none()), words, words)
def test_a_key_does_not_depend_on_the_order_of_members_or_on_the_text(
    members: dict[str, Any], one: str, other: str
) -> None:
    backwards = dict(reversed(members.items()))
    assert merge_key(EMBED, {"input": one, **members}) == merge_key(EMBED, {**backwards, "input": [other]})


@given(st.data(), endpoints)
def test_merging_changes_no_body_and_loses_no_item(data: st.DataObject, endpoint: str) -> None:
    bodies = data.draw(jobs(endpoint))
    before = json.dumps(bodies)
    merged = merge(endpoint, bodies)
    assert json.dumps(bodies) == before
    assert merged[FIELD[endpoint]] == [item for body in bodies for item in listed(endpoint, body)]
    assert "stream" not in merged


sizes = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 500)), max_size=40)


@given(sizes, st.integers(1, 64), st.none() | st.integers(1, 1000))
def test_calls_are_packed_in_order_within_the_limits(
    both: list[tuple[int, int]], most_items: int, most_tokens: int | None
) -> None:
    calls = pack([size for size, _ in both], [tokens for _, tokens in both], most_items, most_tokens)
    assert [place for call in calls for place in call] == list(range(len(both)))

    def fits(places: list[int]) -> bool:
        tokens = sum(both[place][1] for place in places)
        return sum(both[place][0] for place in places) <= most_items and (most_tokens is None or tokens <= most_tokens)

    # One job that is too large by itself still goes, alone: it is the upstream's to refuse.
    assert all(len(call) == 1 or fits(list(call)) for call in calls)
    # No call leaves room for the next one's first job.
    assert not any(fits([*one, following[0]]) for one, following in pairwise(calls))


@given(st.integers(1, 200), st.data())
def test_bisecting_finds_the_guilty_in_few_calls_and_spares_the_others(count: int, data: st.DataObject) -> None:
    guilty = data.draw(st.sets(st.integers(0, count - 1), min_size=1, max_size=3))
    assume(count > 1)
    calls, failed, served = 0, set(), set()
    waiting: list[Any] = [range(count)]
    while waiting:
        call = waiting.pop()
        calls += 1
        if not guilty & set(call):
            served |= set(call)
        elif len(call) == 1:
            failed |= set(call)
        else:
            waiting += [half for half in bisect(call) if half]
    assert failed == guilty and served == set(range(count)) - guilty
    assert calls <= 1 + 2 * len(guilty) * (count - 1).bit_length()


@pytest.mark.parametrize(
    ("code", "status", "blamed"),
    [
        ("invalid_request", 400, True),
        ("invalid_request", 422, True),
        ("invalid_request", 413, True),
        ("context_length_exceeded", 400, True),
        ("content_refused", 400, True),
        ("content_refused", 200, True),
        ("reply_too_large", None, True),
        ("invalid_request", 404, False),
        ("unknown_model", 404, False),
        ("unauthorized", 401, False),
        ("rate_limited", 429, False),
        ("upstream_error", 500, False),
        ("upstream_timeout", None, False),
        ("bad_reply", None, True),
    ],
)
def test_only_errors_that_speak_of_the_request_or_its_answer_blame_one_job(
    code: str, status: int | None, blamed: bool
) -> None:
    assert may_blame_one(code, status) is blamed
