import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.embedding import Embedder, shared_embedder


class Stopped(Exception):
    pass


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return shared_embedder()


def test_a_paraphrase_is_closer_than_another_subject(embedder: Embedder) -> None:
    pairs = [
        (
            "How do I reset my password?",
            "I forgot my password and need a new one.",
            "When does the museum open on Sunday?",
        ),
        ("The cat sleeps on the sofa.", "A kitten is napping on the couch.", "Interest rates rose again in March."),
        (
            "Heavy rain flooded the old town.",
            "The historic centre was under water after a storm.",
            "She plays the violin.",
        ),
    ]
    for text, paraphrase, other in pairs:
        one, two, three = embedder.embed([text, paraphrase, other]).vectors
        assert one @ two > one @ three + 0.15


@pytest.mark.parametrize("dimensions", [64, 128, 256])
def test_vectors_have_unit_length_in_every_supported_dimension(embedder: Embedder, dimensions: int) -> None:
    vectors = embedder.embed(["a river", "two stones and a bridge"], dimensions).vectors
    assert vectors.shape == (2, dimensions)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1.0, 1.0], abs=1e-5)


def test_other_dimensions_are_refused(embedder: Embedder) -> None:
    with pytest.raises(ValueError, match="dimensions"):
        embedder.embed(["a"], 100)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(max_size=60), max_size=8))
def test_a_text_has_the_same_vector_in_whatever_company(texts: list[str]) -> None:
    embedder = shared_embedder()
    together = embedder.embed(texts)
    alone = [embedder.embed([text]).vectors[0] for text in texts]
    assert all(np.array_equal(one, other) for one, other in zip(together.vectors, alone, strict=True))
    assert together.tokens == embedder.count_tokens(texts)
    assert np.isfinite(together.vectors).all()


def test_a_very_long_text_among_short_ones_is_embedded_in_steps(embedder: Embedder) -> None:
    vectors = embedder.embed(["a river", "a river " * 20_000, "a stone"]).vectors
    assert vectors[0] @ vectors[1] > 0.95


def test_a_raising_checkpoint_stops_the_work(embedder: Embedder) -> None:
    def checkpoint() -> None:
        raise Stopped

    with pytest.raises(Stopped):
        embedder.embed(["a"], checkpoint=checkpoint)


def test_the_model_is_loaded_once() -> None:
    assert shared_embedder() is shared_embedder()
