import json
import struct
from uuid import UUID

from bench.measures.cached import cacheable
from bench.measures.cached_semantic import _copied, _written, questions
from bench.measures.prewarm import _live_bodies, _template
from bench.measures.zipf import _job
from bench.traces import zipf_day
from policies.cache_keys import cacheable as may_be_kept
from policies.schedules import fill


def test_questions_that_fill_the_table_are_different_and_the_same_every_time() -> None:
    made = questions(5000)
    assert len(set(made)) == 5000
    assert made == questions(5000)


def test_written_pairs_hold_no_question_twice() -> None:
    pairs = _written()
    assert len({question for pair in pairs for question in pair}) == 2 * len(pairs) == 100


def test_the_copied_rows_are_as_long_as_they_say() -> None:
    rows = list(_copied(UUID(int=1), b"p" * 33, "wordllama", questions(3)))
    assert len(rows) == 5 and rows[-1] == b"\xff\xff"
    for row in rows[1:-1]:
        (fields,), at = struct.unpack("!h", row[:2]), 2
        for _ in range(fields):
            at += 4 + struct.unpack("!i", row[at : at + 4])[0]
        assert (fields, at) == (9, len(row))


def test_bodies_for_the_cache_may_be_kept_and_those_of_live_traffic_may_not() -> None:
    assert all(may_be_kept(job["endpoint"], job["body"]) for job in map(json.loads, cacheable(3, latency_ms=0)))
    filled = fill(_template(), {"segment": "segment 1", "category": "category 2"})
    assert may_be_kept(filled["endpoint"], filled["body"])
    live = json.loads(next(_live_bodies()))
    assert not may_be_kept(live["endpoint"], live["body"])


def test_equal_requests_of_the_day_are_equal_jobs_and_others_are_not() -> None:
    requests = list(zipf_day(requests=300))
    jobs = [_job(request, {"mode": "default"}) for request in requests]
    assert len(set(jobs)) == len({request.entry for request in requests}) < len(jobs)
