import json
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.embedding import Embedder, shared_embedder
from policies.catalog import Deployment
from workers.providers.local import LocalProvider
from workers.providers.local.classify import label_scores, read_classify
from workers.providers.protocol import Call, Delta, ProviderError

CHAT = "/v1/chat/completions"


@pytest.fixture
async def provider() -> AsyncIterator[LocalProvider]:
    provider = LocalProvider()
    yield provider
    await provider.aclose()


def call(text: str = "The app crashes when I open it.", *system: str, stream: bool = False, **body: Any) -> Call:
    deployment = Deployment(name="local/classify", model="local/classify", provider="local")
    messages = [{"role": "system", "content": content} for content in system] + [{"role": "user", "content": text}]
    return Call(deployment, CHAT, {"model": "local/classify", "messages": messages, **body}, stream, 30.0, {})


def schema(properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    made = {"type": "object", "properties": properties, **more}
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": made}}


async def content(provider: LocalProvider, request: Call) -> Any:
    reply = await provider.call(request, None)
    return json.loads(reply.body["choices"][0]["message"]["content"])


def test_labels_are_found_as_a_person_would_give_them(embedder: Embedder, labelled: Any) -> None:
    right = []
    for task in labelled("classify")["tasks"]:
        hits = []
        for example in task["examples"]:
            scores = label_scores(example["text"], task["labels"], embedder, lambda: None)
            hits.append(task["labels"][int(np.argmax(scores))] == example["label"])
        assert np.mean(hits) >= 0.85, task["name"]
        right += hits
    assert np.mean(right) >= 0.92


async def test_labels_may_stand_in_a_system_message(provider: LocalProvider) -> None:
    answer = await content(provider, call("My parcel has not arrived.", "Classify.\nLabels: billing, delivery, praise"))
    assert answer["label"] == "delivery"
    assert next(iter(answer["scores"])) == "delivery"
    assert sum(answer["scores"].values()) == pytest.approx(1, abs=0.001)


async def test_labels_may_stand_in_the_users_own_message(provider: LocalProvider) -> None:
    answer = await content(provider, call('Labels: "sports", "politics"\nThe striker scored twice in the match.'))
    assert answer["label"] == "sports"


async def test_the_schema_names_the_labels_and_the_members_of_the_answer(provider: LocalProvider) -> None:
    properties = {"topic": {"type": "string", "enum": ["billing", "crash"]}, "confidence": {"type": "number"}}
    wish = schema(properties, required=["topic", "confidence"], additionalProperties=False)
    answer = await content(provider, call(response_format=wish))
    assert sorted(answer) == ["confidence", "topic"]
    assert answer["topic"] == "crash" and 0.5 < answer["confidence"] <= 1


async def test_an_enum_behind_a_reference_is_found(provider: LocalProvider) -> None:
    wish = schema(
        {"label": {"$ref": "#/$defs/Label"}}, **{"$defs": {"Label": {"type": "string", "enum": ["billing", "crash"]}}}
    )
    answer = await content(provider, call(response_format=wish))
    assert answer["label"] == "crash" and set(answer["scores"]) == {"billing", "crash"}


async def test_a_stream_says_the_same(provider: LocalProvider) -> None:
    deltas: list[Delta] = []
    request = call("Great work!", "labels: praise, complaint", stream=True)
    reply = await provider.call(request, deltas.append)
    assert "".join(delta.text for delta in deltas) == reply.body["choices"][0]["message"]["content"]
    assert reply.usage is not None and reply.usage.input_tokens > 3


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (call("text without labels"), "no labels"),
        (call("", "labels: a, b"), "empty"),
        (call("x", "labels: ,,"), "1 to 1000 labels"),
        (call("x", "labels: " + ",".join(map(str, range(1001)))), "1 to 1000 labels"),
        (call(response_format={"type": "json_object"}), "no labels"),
        (call(response_format=schema({"n": {"type": "number"}})), "no labels"),
        (call(response_format=schema({"l": {"enum": ["a"]}}, required=["l", "reason"])), "reason"),
        (call("x" * 200_001, "labels: a, b"), "longer than"),
        (call("x", "labels: a, b", n=2), "n must be 1"),
    ],
)
async def test_what_cannot_be_classified_is_refused(provider: LocalProvider, request_: Call, said: str) -> None:
    with pytest.raises(ProviderError, match=said) as caught:
        await provider.call(request_, None)
    assert (caught.value.code, caught.value.retryable) == ("invalid_request", False)


def itself(times: int) -> dict[str, Any]:
    return {"anyOf": [{"$ref": "#/$defs/a"}] * times}


@pytest.mark.parametrize(
    "option", [itself(300), {"anyOf": 7}, {"oneOf": [7, None]}], ids=["endless", "no list", "no schemas"]
)
def test_a_schema_that_leads_nowhere_is_given_up_soon(option: dict[str, Any]) -> None:
    """Three hundred ways at each of four levels would take a day to walk."""
    wish = {"type": "json_schema", "json_schema": {"schema": {"properties": {"l": option}, "$defs": {"a": option}}}}
    body = {"messages": [{"role": "user", "content": "x"}], "response_format": wish}
    with pytest.raises(ProviderError, match="no labels"):
        read_classify(body)


@pytest.mark.parametrize("empty", ["\n", "\r\n", " \n", "\n\t"])
def test_many_empty_lines_are_read_as_fast_as_others(empty: str) -> None:
    """Requests are read on the event loop, where all jobs of the worker would wait."""
    messages = [{"role": "system", "content": empty * 100_000}, {"role": "user", "content": "x\n  labels: a, b"}]
    assert read_classify({"messages": messages}).labels == ["a", "b"]


@given(st.text(min_size=1, max_size=100), st.lists(st.text(max_size=30), min_size=1, max_size=6, unique=True))
@settings(deadline=None)
def test_scores_are_probabilities_whatever_the_labels_are(text: str, labels: list[str]) -> None:
    scores = label_scores(text, labels, shared_embedder(), lambda: None)
    assert len(scores) == len(labels)
    assert (scores >= 0).all() and float(scores.sum()) == pytest.approx(1, abs=1e-4)
