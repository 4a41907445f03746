from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.embedding import Embedder
from policies.catalog import Deployment
from workers.providers.local import LocalProvider
from workers.providers.local.moderation import CATEGORIES, FLAGGED_FROM, Moderator, plain, shared_moderator
from workers.providers.protocol import Call, ProviderError

MODERATIONS = "/v1/moderations"


@pytest.fixture(scope="module")
def moderator(embedder: Embedder) -> Moderator:
    return Moderator(embedder)


@pytest.fixture
async def provider() -> AsyncIterator[LocalProvider]:
    provider = LocalProvider()
    yield provider
    await provider.aclose()


def call(given: Any) -> Call:
    deployment = Deployment(
        name="local/classify", model="local/classify", provider="local", endpoints=frozenset({MODERATIONS})
    )
    return Call(deployment, MODERATIONS, {"model": "local/classify", "input": given}, False, 30.0, {})


def flags(moderator: Moderator, text: str) -> set[str]:
    scores, _ = moderator.scores(text, lambda: None)
    return {name for name, score in scores.items() if score >= FLAGGED_FROM}


@pytest.mark.parametrize(("part", "found", "named"), [("first", 0.97, 0.97), ("second", 0.7, 0.7)])
def test_plain_cases_are_flagged_and_what_only_sounds_like_them_is_not(
    moderator: Moderator, labelled: Any, part: str, found: float, named: float
) -> None:
    """Of the second part, which nothing was fitted to, 22 of 30 are found and none of 32 is flagged wrongly."""
    items = [item for item in labelled("moderation")["items"] if item["part"] == part]
    bad = [(item["category"], flags(moderator, item["text"])) for item in items if item["category"]]
    good = [flags(moderator, item["text"]) for item in items if not item["category"]]
    assert sum(bool(flagged) for _, flagged in bad) / len(bad) >= found
    assert sum(category in flagged for category, flagged in bad) / len(bad) >= named
    assert sum(bool(flagged) for flagged in good) / len(good) <= 0.05


async def test_the_answer_has_openais_shape(provider: LocalProvider) -> None:
    reply = await provider.call(call(["You are a worthless idiot.", "Thank you for the tickets."]), None)
    assert reply.body["id"].startswith("modr-") and reply.body["model"] == "local/classify"
    bad, good = reply.body["results"]
    assert (bad["flagged"], good["flagged"]) == (True, False)
    assert bad["categories"]["harassment"] is True
    for result in (bad, good):
        for member in ("categories", "category_scores", "category_applied_input_types"):
            assert tuple(result[member]) == CATEGORIES
        assert all(0 <= score <= 1 for score in result["category_scores"].values())
    assert reply.usage is not None and reply.usage.input_tokens > 5


@pytest.mark.parametrize(
    "given", ["I will kill you.", [{"type": "text", "text": "I will"}, {"type": "text", "text": "kill you."}]]
)
async def test_one_text_and_the_parts_of_one_message_get_one_result(provider: LocalProvider, given: Any) -> None:
    reply = await provider.call(call(given), None)
    assert len(reply.body["results"]) == 1


async def test_a_batch_is_judged_item_by_item_and_in_order(provider: LocalProvider) -> None:
    texts = ["Good morning.", "I will kill you.", "Where is my coat?"] * 20
    reply = await provider.call(call(texts), None)
    assert [result["flagged"] for result in reply.body["results"]] == [False, True, False] * 20


@pytest.mark.parametrize(
    "given",
    [
        None,
        "x" * 4_000_001,
        [],
        [1],
        ["a", 2],
        [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}],
        ["a"] * 2049,
    ],
)
async def test_what_cannot_be_judged_is_refused(provider: LocalProvider, given: Any) -> None:
    with pytest.raises(ProviderError) as caught:
        await provider.call(call(given), None)
    assert (caught.value.code, caught.value.retryable) == ("invalid_request", False)


def test_one_sentence_among_many_is_found(moderator: Moderator) -> None:
    text = "The harbour was quiet. " * 200 + "I will find you and kill you. " + "The boats came home. " * 200
    assert "harassment/threatening" in flags(moderator, text)


@pytest.mark.parametrize(
    "text",
    ["y0u are an 1d10t", "YOU ARE AN IDIOT!!!", "you are an i d i o t", "you are an idiooooot", "yóu are an ídiot"],
)
def test_disguised_words_are_read(moderator: Moderator, text: str) -> None:
    assert "harassment" in flags(moderator, text)


def test_a_kind_of_a_category_is_never_likelier_than_the_category(moderator: Moderator, labelled: Any) -> None:
    for item in labelled("moderation")["items"]:
        scores, _ = moderator.scores(item["text"], lambda: None)
        for name, score in scores.items():
            assert score <= scores[name.split("/")[0]], item


@given(st.text(max_size=300))
@settings(deadline=None)
def test_any_text_gets_a_score_in_every_category(text: str) -> None:
    scores, tokens = shared_moderator().scores(text, lambda: None)
    assert tuple(scores) == CATEGORIES
    assert all(0 <= score <= 1 for score in scores.values())
    assert tokens >= 0
    plain(text)
