from types import SimpleNamespace
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import ids
from policies.catalog import Deployment
from workers.providers.protocol import ProviderError
from workers.upstream_batches.lines import Answer, fits, name_of, owner_of, read_answer, refused, request_line, whose

JOB = ids.new_id()
SERVER = Deployment(
    name="d",
    model="m",
    provider="openai",
    upstream_model="their-m",
    endpoints=frozenset({"/v1/chat/completions", "/v1/rerank"}),
)


def row(body: dict[str, Any], lease_no: int = 3) -> Any:
    return SimpleNamespace(id=JOB, lease_no=lease_no, endpoint="/v1/chat/completions", body=orjson.dumps(body).decode())


def answer(**told: Any) -> Answer:
    found = read_answer(orjson.dumps({"custom_id": name_of(JOB, 3), **told}), "sk-the-key")
    assert found is not None and (found.job_id, found.lease_no) == (JOB, 3)
    return found


def error(**told: Any) -> ProviderError:
    found = answer(**told).error
    assert found is not None
    return found


@given(st.uuids(), st.integers(1, 2**31 - 1))
def test_a_name_leads_back_to_the_job_and_its_lease(job: UUID, lease_no: int) -> None:
    name = name_of(job, lease_no)
    assert whose(name) == (job, lease_no)
    assert len(name) <= 64


@given(st.none() | st.integers() | st.text() | st.lists(st.text()))
def test_a_name_that_is_none_of_ours_leads_nowhere(name: Any) -> None:
    assert whose(name) is None


@pytest.mark.parametrize("lease", ["0", "-1", "2147483648", "9" * 30])
def test_a_lease_number_that_no_lease_has_leads_nowhere(lease: str) -> None:
    """The database would refuse to look for it, and the batch could never be settled."""
    assert whose(f"{ids.encode(ids.JOB, JOB)}:{lease}") is None


def test_a_request_names_the_upstreams_model_and_does_not_stream() -> None:
    body = {"model": "m", "messages": [], "stream": False, "stream_options": {}, "seed": 1}
    line = orjson.loads(request_line(row(body), SERVER))
    assert line == {
        "custom_id": name_of(JOB, 3),
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": "their-m", "messages": [], "seed": 1},
    }
    assert owner_of(orjson.dumps(line)) == (JOB, 3)


def test_only_what_a_batch_api_takes_goes_into_a_batch() -> None:
    assert fits(SERVER, "/v1/chat/completions", stream=False)
    assert not fits(SERVER, "/v1/chat/completions", stream=True)
    assert not fits(SERVER, "/v1/rerank", stream=False)
    assert not fits(SERVER, "/v1/embeddings", stream=False)


def test_an_answer_is_its_body() -> None:
    found = answer(response={"status_code": 200, "body": {"choices": []}}, error=None)
    assert found.body == {"choices": []} and found.error is None


@pytest.mark.parametrize(
    ("told", "code", "retryable"),
    [
        ({"response": {"status_code": 400, "body": {"error": {"message": "odd"}}}}, "invalid_request", False),
        ({"response": {"status_code": 429, "body": None}}, "rate_limited", True),
        ({"response": {"status_code": 500, "body": "?"}}, "upstream_error", True),
        ({"response": None, "error": {"code": "batch_expired", "message": "late"}}, "upstream_timeout", True),
        ({"response": None, "error": {"code": "batch_cancelled"}}, "upstream_error", True),
        ({"response": None, "error": {"code": "server_error", "message": "x"}}, "upstream_error", True),
        ({"response": None, "error": None}, "bad_reply", True),
        ({}, "bad_reply", True),
        ({"response": {"status_code": "200"}}, "bad_reply", True),
    ],
)
def test_an_error_says_whether_to_try_again(told: dict[str, Any], code: str, retryable: bool) -> None:
    found = error(**told)
    assert (found.code, found.retryable) == (code, retryable)


def test_a_key_in_an_upstreams_words_is_not_shown() -> None:
    assert "the-key" not in error(response={"status_code": 400, "body": {"error": {"message": "sk-the-key?"}}}).message
    assert "the-key" not in refused("with sk-the-key", "sk-the-key").message


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["custom_id", "response", "error", "status_code", "body", "code"]), inner, max_size=4
        )
    ),
    max_leaves=8,
)


@given(st.binary(max_size=40) | anything.map(lambda value: orjson.dumps(value, option=orjson.OPT_PASSTHROUGH_SUBCLASS)))
def test_a_line_that_is_nonsense_is_passed_over(line: bytes) -> None:
    assert read_answer(line, None) is None
    assert owner_of(line) is None


@given(anything, anything)
def test_whatever_a_line_says_of_our_job_is_an_answer_or_an_error(response: Any, told: Any) -> None:
    found = answer(response=response, error=told)
    assert found.error is not None or isinstance(response, dict)
