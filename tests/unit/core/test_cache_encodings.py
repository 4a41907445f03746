"""An entry in the encoding that a request asks for."""

import time
from typing import Any

import orjson
import pytest

from core.cache import About, Entry
from core.cache.encodings import as_asked

EMBED, CHAT = "/v1/embeddings", "/v1/chat/completions"
NUMBERS = [0.5, -1.25, 0.1]
PACKED = "AAAAPwAAoL/NzMw9"


def entry(embedding: Any, times: int = 1) -> Entry:
    items = [{"object": "embedding", "index": index, "embedding": embedding} for index in range(times)]
    answer = orjson.dumps({"object": "list", "data": items, "usage": {"total_tokens": 3}}).decode()
    return Entry(answer, {"total_tokens": 3}, None, 1.0, time.time(), None, About(EMBED, "m"))


def asking(**body: Any) -> str:
    return orjson.dumps({"model": "m", "input": "a coat", **body}).decode()


def vectors(found: Entry | None) -> list[Any]:
    assert found is not None
    return [item["embedding"] for item in orjson.loads(found.result)["data"]]


# A long answer is turned in a thread.
@pytest.mark.parametrize("times", [1, 5000])
async def test_numbers_and_base64_stand_for_each_other(times: int) -> None:
    packed = await as_asked(entry(NUMBERS, times), EMBED, asking(encoding_format="base64"))
    assert vectors(packed) == [PACKED] * times
    numbers = await as_asked(entry(PACKED, times), EMBED, asking())
    assert vectors(numbers) == [NUMBERS] * times


@pytest.mark.parametrize(
    ("embedding", "body"),
    [(NUMBERS, asking()), (NUMBERS, asking(encoding_format="float")), (PACKED, asking(encoding_format="base64")),
     (NUMBERS, asking(encoding_format="int8")), (NUMBERS, asking(input='"encoding_format":"base64"'))],
)  # fmt: skip
async def test_what_is_kept_as_it_is_asked_for_is_handed_on(embedding: Any, body: str) -> None:
    kept = entry(embedding)
    assert await as_asked(kept, EMBED, body) is kept


async def test_what_cannot_be_told_in_the_encoding_that_is_asked_for_is_a_miss() -> None:
    assert await as_asked(entry([[0.5], [0.25]]), EMBED, asking(encoding_format="base64")) is None
    assert await as_asked(entry("no base64"), EMBED, asking()) is None


async def test_answers_of_other_endpoints_have_one_encoding() -> None:
    kept = entry(NUMBERS)
    assert await as_asked(kept, CHAT, asking(encoding_format="base64")) is kept
