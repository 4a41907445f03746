"""What a job is told of caches when it is made."""

import threading
from dataclasses import replace
from typing import Any
from uuid import uuid4

import orjson
import pytest

from core import ids
from core.cache import Planned, plan_beside, plan_job
from core.store.accept import NewJob

TENANT = uuid4()
CHAT = "/v1/chat/completions"


def job(**fields: Any) -> NewJob:
    return NewJob(ids.new_id(), TENANT, CHAT, "sim/fast", "{}", **fields)


FIXED: dict[str, Any] = {"model": "sim/fast", "messages": [{"role": "user", "content": "Where?"}], "temperature": 0}
VARIED = {**FIXED, "temperature": 1}


def told(made: NewJob) -> Planned:
    return Planned.of(orjson.loads(made.cache_options) if made.cache_options else None)


def test_the_worker_is_told_what_was_planned() -> None:
    made = job()
    planned = plan_job(made, FIXED, {"mode": "default", "ttl_s": 60.0})
    assert planned.plan.ttl_s == 60.0
    assert told(made) == planned


def test_jobs_with_one_answer_share_a_flight_of_their_lane() -> None:
    first, second, urgent = job(), job(), job(lane="interactive")
    for each in (first, second, urgent):
        plan_job(each, FIXED, None)
    assert first.concurrency_key == second.concurrency_key is not None
    assert first.concurrency_limit == 1
    # An urgent job never waits behind one that may stand in a long line.
    assert urgent.concurrency_key not in (None, first.concurrency_key)
    assert told(urgent).key == told(first).key


NEAR: dict[str, Any] = {"semantic": True, "threshold": 0.8}


def test_the_worker_is_told_among_which_questions_near_ones_are_looked_for() -> None:
    made = job()
    planned = plan_job(made, FIXED, NEAR)
    assert (planned.plan.semantic, planned.plan.threshold, len(planned.partition)) == ("on", 0.8, 33)
    assert told(made) == planned
    replace(planned, looked=True).tell(made, NEAR)
    assert told(made).looked


def test_other_words_have_another_key_in_the_same_partition() -> None:
    first = plan_job(job(), FIXED, NEAR)
    reworded = plan_job(job(), {**FIXED, "messages": [{"role": "user", "content": "Where to?"}]}, NEAR)
    assert first.key != reworded.key
    assert first.partition == reworded.partition
    assert plan_job(job(), {**FIXED, "seed": 1}, NEAR).partition != first.partition


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "assistant", "content": "Well?"}],
        [{"role": "user", "content": "word " * 500}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]}],
    ],
)
def test_a_request_without_a_question_that_could_be_compared_has_no_partition(messages: list[Any]) -> None:
    planned = plan_job(job(), {**FIXED, "messages": messages}, NEAR)
    assert planned.plan.look
    assert (planned.plan.semantic, planned.partition) == ("off", b"")


def test_what_an_earlier_program_wrote_is_still_read() -> None:
    plan = {"look": True, "keep": True, "only": False, "ttl_s": None, "key": "01"}
    assert Planned.of({"plan": plan}).plan.semantic == "off"


def test_streaming_or_not_is_the_same_answer() -> None:
    plain, streaming = job(), job(stream=True)
    plan_job(plain, FIXED, None)
    plan_job(streaming, {**FIXED, "stream": True}, None)
    assert told(plain).key == told(streaming).key


def test_a_concurrency_key_of_the_callers_own_stays() -> None:
    made = job(concurrency_key="mine", concurrency_limit=3)
    assert plan_job(made, FIXED, None).plan.look
    assert (made.concurrency_key, made.concurrency_limit) == ("mine", 3)


def test_what_passes_caches_by_costs_and_changes_nothing() -> None:
    made = job()
    assert plan_job(made, VARIED, None) == Planned()
    assert (made.cache_options, made.concurrency_key) == (None, None)


def test_a_refresh_shares_nothing_and_has_the_key_of_the_job_it_refreshes() -> None:
    fresh, plain = job(), job()
    plan_job(fresh, FIXED, {"mode": "refresh"})
    plan_job(plain, FIXED, None)
    assert fresh.concurrency_key is None
    assert told(fresh).key == told(plain).key


class Witness(dict[str, Any]):
    """A request that remembers which threads read it."""

    def __init__(self, body: dict[str, Any]) -> None:
        super().__init__(body)
        self.readers: set[int] = set()

    def items(self) -> Any:
        self.readers.add(threading.get_ident())
        return super().items()


@pytest.mark.parametrize(("letters", "beside"), [(1000, False), (300_000, True)])
async def test_the_key_of_a_large_request_is_made_beside_the_loop(letters: int, beside: bool) -> None:
    body = {**FIXED, "messages": [{"role": "user", "content": "x" * letters}]}
    witness, made, other = Witness(body), job(), job()
    made.body = orjson.dumps(body).decode()
    await plan_beside(made, witness, None)
    assert (threading.get_ident() not in witness.readers) is beside
    plan_job(other, body, None)
    assert (made.cache_options, made.concurrency_key) == (other.cache_options, other.concurrency_key)


def test_embeddings_in_two_encodings_have_one_key_and_two_flights() -> None:
    made = []
    for encoding in (None, "float", "base64"):
        body = {"model": "sim/embed", "input": "a coat"} | ({"encoding_format": encoding} if encoding else {})
        one = NewJob(ids.new_id(), TENANT, "/v1/embeddings", "sim/embed", orjson.dumps(body).decode())
        plan_job(one, body, None)
        made.append(one)
    numbers, also_numbers, packed = made
    assert told(numbers).key == told(also_numbers).key == told(packed).key
    assert numbers.concurrency_key == also_numbers.concurrency_key
    assert packed.concurrency_key not in (None, numbers.concurrency_key)
