from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.embedding import Embedder, shared_embedder
from policies.catalog import Deployment
from workers.providers.local import LocalProvider
from workers.providers.local.lexical import bm25, fold, terms
from workers.providers.local.rerank import relevance
from workers.providers.protocol import Call, ProviderError

RERANK = "/v1/rerank"


@pytest.fixture
async def provider() -> AsyncIterator[LocalProvider]:
    provider = LocalProvider()
    yield provider
    await provider.aclose()


def call(**body: Any) -> Call:
    deployment = Deployment(name="local/rerank", model="local/rerank", provider="local", endpoints=frozenset({RERANK}))
    return Call(deployment, RERANK, {"model": "local/rerank", **body}, False, 30.0, {})


def reciprocal_ranks(passages: list[dict[str, Any]], score: Callable[[str, list[str]], Any]) -> list[float]:
    documents = [passage["passage"] for passage in passages]
    ranks = []
    for number, passage in enumerate(passages):
        for query in passage["queries"]:
            scores = score(query, documents)
            better, equal = int((scores > scores[number]).sum()), int((scores == scores[number]).sum()) - 1
            ranks.append(1 / (1 + better + equal / 2))
    return ranks


def test_words_and_meaning_together_rank_better_than_either(embedder: Embedder, labelled: Any) -> None:
    languages = labelled("rerank")["languages"]

    def of(score: Callable[[str, list[str]], Any]) -> dict[str, float]:
        return {code: float(np.mean(reciprocal_ranks(passages, score))) for code, passages in languages.items()}

    def meaning(query: str, documents: list[str]) -> Any:
        vectors = embedder.embed([query, *documents]).vectors
        return vectors[1:] @ vectors[0]

    both = of(lambda query, documents: relevance(query, documents, embedder, lambda: None)[0])
    words = of(lambda query, documents: bm25(terms(query), [terms(document) for document in documents]))
    mean = {name: sum(of_each.values()) / 3 for name, of_each in (("words", words), ("meaning", of(meaning)))}
    assert sum(both.values()) / 3 > max(mean.values()) + 0.04
    assert both["en"] >= 0.98 and both["es"] >= 0.92 and both["de"] >= 0.8


async def test_the_answer_has_the_shape_of_cohere_and_jina(provider: LocalProvider) -> None:
    documents = [
        "Trains leave from platform two.",
        {"text": "Reset your password in the settings."},
        "Bread needs yeast.",
    ]
    body = {"query": "how do I change my password", "documents": documents, "top_n": 2, "return_documents": True}
    reply = await provider.call(call(**body), None)
    first, second = reply.body["results"]
    assert first["index"] == 1
    assert first["document"] == {"text": "Reset your password in the settings."}
    assert 1 >= first["relevance_score"] > second["relevance_score"] >= 0
    assert reply.usage is not None and reply.body["usage"]["total_tokens"] == reply.usage.total_tokens > 10
    assert reply.body["model"] == "local/rerank" and reply.body["id"].startswith("rerank-")


async def test_documents_come_back_only_when_asked_for(provider: LocalProvider) -> None:
    reply = await provider.call(call(query="x y", documents=["a b", "x y"]), None)
    assert [sorted(result) for result in reply.body["results"]] == [["index", "relevance_score"]] * 2
    assert [result["index"] for result in reply.body["results"]] == [1, 0]


def test_a_long_document_is_as_relevant_as_its_best_passage(embedder: Embedder) -> None:
    filler = "The city council discussed the width of the new bicycle lanes. " * 40
    needle = "To change your password, open the settings and choose security. "
    scores, _ = relevance(
        "I forgot my password, where do I change it",
        [filler, filler + needle + filler, filler + filler],
        embedder,
        lambda: None,
    )
    assert scores[1] > max(scores[0], scores[2]) + 0.05


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"documents": ["a"]}, "query"),
        ({"query": " ", "documents": ["a"]}, "query"),
        ({"query": "a"}, "documents"),
        ({"query": "a", "documents": []}, "documents"),
        ({"query": "a", "documents": [1]}, "documents"),
        ({"query": "a", "documents": [{"body": "x"}]}, "documents"),
        ({"query": "a", "documents": ["a"] * 2001}, "at most 2000"),
        ({"query": "a", "documents": ["a"], "top_n": 0}, "top_n"),
        ({"query": "a", "documents": ["a"], "top_n": "2"}, "top_n"),
    ],
)
async def test_what_cannot_be_ranked_is_refused(provider: LocalProvider, body: dict[str, Any], said: str) -> None:
    with pytest.raises(ProviderError, match=said) as caught:
        await provider.call(call(**body), None)
    assert (caught.value.code, caught.value.retryable) == ("invalid_request", False)


WORDS = st.lists(st.sampled_from("coat hook ticket door rain key hat shoe".split()), min_size=1, max_size=8)


@given(WORDS, st.lists(WORDS, min_size=1, max_size=6))
def test_scores_of_words_are_bounded_and_zero_without_a_shared_word(
    query: list[str], documents: list[list[str]]
) -> None:
    scores = bm25(query, documents)
    assert ((scores >= 0) & (scores <= 1)).all()
    for document, score in zip(documents, scores, strict=True):
        assert (score == 0) == (not set(query) & set(document))


@given(st.text(min_size=1, max_size=80).filter(str.strip), st.lists(st.text(max_size=200), min_size=1, max_size=5))
@settings(deadline=None)
def test_any_text_can_be_ranked(query: str, documents: list[str]) -> None:
    scores, tokens = relevance(query, documents, shared_embedder(), lambda: None)
    assert len(scores) == len(documents)
    assert ((scores >= 0) & (scores <= 1)).all()
    assert tokens >= 0


def test_words_meet_over_accents_case_and_endings() -> None:
    assert fold("Öffnungszeiten ESPAÑOL") == "offnungszeiten espanol"
    assert set(terms("Die Rechnungen der Firma")) & set(terms("eine Rechnung"))
    assert set(terms("contraseñas")) & set(terms("contraseña"))
    assert terms("the of und der la") == []
