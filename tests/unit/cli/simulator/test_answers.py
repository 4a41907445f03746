from hypothesis import given
from hypothesis import strategies as st

from cli.simulator.answers import answer_length, items_in


@given(st.text(), st.integers(0, 100))
def test_the_length_of_an_answer_follows_from_the_prompt(prompt: str, seed: int) -> None:
    assert 30 <= answer_length(seed, prompt) == answer_length(seed, prompt) <= 600


def test_long_prompts_get_longer_answers() -> None:
    short, long = ([answer_length(seed, "why? " * times) for seed in range(50)] for times in (2, 200))
    assert max(short) < min(long)


def test_what_counts_as_an_item_depends_on_the_endpoint() -> None:
    assert items_in("/v1/embeddings", {"input": ["a", "b"]}) == ["a", "b"]
    assert items_in("/v1/embeddings", {"input": [1, 2, 3]}) == [[1, 2, 3]]
    assert items_in("/v1/embeddings", {"input": [[1], [2, 3]]}) == [[1], [2, 3]]
    assert items_in("/v1/completions", {"prompt": "a"}) == ["a"]
    assert items_in("/v1/moderations", {"input": ["a"]}) == ["a"]
    assert items_in("/v1/rerank", {"documents": ["a", "b", "c"]}) == ["a", "b", "c"]
    assert len(items_in("/v1/chat/completions", {"messages": ["a", "b"]})) == 1
