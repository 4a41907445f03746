"""OpenAI's tokenizers without a network.

The expected counts are those of OpenAI's own `tiktoken` 0.14 over the same vocabularies, whose SHA-256 sums are the ones that it
checks its downloads against.
"""

import gzip
import hashlib
import socket
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.tokens import counter_for, input_tokens, tokenizer, warm
from policies.tokens import sampled

TEXTS = Path(__file__).parents[3] / "examples" / "texts"
#: file -> (o200k_base, cl100k_base)
TIKTOKEN = {
    "changelog.md": (607, 609),
    "fluss.md": (1292, 1576),
    "heat-pumps.md": (1287, 1301),
    "incident-report.md": (1415, 1417),
    "street-trees.md": (4086, 4105),
    "time-in-software.md": (7168, 7165),
}
VOCABULARIES = {
    "o200k_base": "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
    "cl100k_base": "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
}
CHAT = "/v1/chat/completions"


def counted(model: str, text: str) -> int:
    return sampled(counter_for(model))([text])


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a tokenizer must not need a network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.parametrize("name", TIKTOKEN)
def test_texts_have_exactly_the_tokens_that_openai_counts(name: str) -> None:
    text = (TEXTS / name).read_text()
    assert (counted("gpt-4o", text), counted("gpt-4", text)) == TIKTOKEN[name]


@pytest.mark.parametrize("encoding", VOCABULARIES)
def test_the_vocabularies_are_openais(encoding: str) -> None:
    package = find_spec("bpe_openai")
    assert package is not None and package.origin is not None
    packed = (Path(package.origin).parent / "data" / f"{encoding}.tiktoken.gz").read_bytes()
    assert hashlib.sha256(gzip.decompress(packed)).hexdigest() == VOCABULARIES[encoding]


def test_a_conversation_has_the_tokens_of_its_texts_and_of_what_openai_puts_around_them() -> None:
    messages = [
        {"role": "system", "content": "You look after the coats of a theatre."},
        {"role": "user", "name": "visitor", "content": "Which hook has my grey coat?"},
        {"role": "assistant", "content": "Hook 42, behind the umbrella stand."},
    ]
    count = tokenizer("o200k_base")
    texts = [text for message in messages for text in message.values()]
    assert input_tokens("gpt-4o", CHAT, {"messages": messages}) == sum(map(count, texts)) + 3 * len(messages) + 1 + 3


def test_ten_megabytes_are_counted_within_two_percent() -> None:
    large = "".join((TEXTS / name).read_text() for name in TIKTOKEN) * 130
    exact = tokenizer("o200k_base")(large)
    assert len(large) > 9_000_000
    assert abs(counted("gpt-4o", large) - exact) <= 0.02 * exact


@pytest.mark.parametrize("name", TIKTOKEN)
def test_an_estimate_for_other_models_is_within_a_sixth_of_a_large_vocabulary(name: str) -> None:
    text = (TEXTS / name).read_text()
    assert abs(counted("claude-sonnet-4", text) - TIKTOKEN[name][0]) <= TIKTOKEN[name][0] / 6


@given(st.text(alphabet=st.characters(), max_size=200))
def test_any_text_is_counted_lone_surrogates_and_special_tokens_included(text: str) -> None:
    assert counter_for("gpt-4o")(text + "<|endoftext|>\ud800") > 5


def test_an_unknown_encoding_is_refused() -> None:
    with pytest.raises(ValueError, match="no tokenizer"):
        tokenizer("p50k_base")


def test_only_what_models_need_is_loaded_beforehand() -> None:
    tokenizer.cache_clear()
    warm(["gpt-4o-mini", "claude-sonnet-4", "local/embed"])
    assert tokenizer.cache_info().currsize == 1
