"""Bulk jobs by way of a Batch API: what becomes of them."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import orjson
import pytest

from core import ids
from core.store.accept import NewJob
from core.store.work import let_in_due, lose_orphans
from tests.integration.upstream_batches.conftest import MODEL, World
from tests.support.store import PUBLIC_URL, chat_body
from tests.support.waiting import eventually
from workers.upstream_batches import UpstreamBatches

Running = Callable[..., UpstreamBatches]


async def test_bulk_jobs_go_through_one_batch_at_half_the_price(world: World, running: Running) -> None:
    jobs = await world.add(20)
    running()
    await world.until(succeeded=20)
    assert [batch["status"] for batch in world.upstream()] == ["completed"]
    assert await world.states() == [("settled", "completed")]
    job = await world.store.job(jobs[0])
    usage, route, timing = (orjson.loads(getattr(job, name)) for name in ("usage", "route", "timing"))
    assert job.cost_usd == (Decimal(usage["input_tokens"]) + 2 * Decimal(usage["output_tokens"])) / 2 / 1_000_000
    assert route["deployment"] == MODEL and "Batch API" in route["reason"]
    assert timing["batch_size"] == 20
    assert orjson.loads(job.result)["choices"][0]["message"]["content"].startswith("[sim]")
    assert await world.store.outcomes(jobs[0]) == ["succeeded"]
    assert [kind for _, kind in await world.store.events(jobs[0])] == ["job.started", "job.succeeded"]


async def test_nothing_is_left_behind_by_a_settled_batch(world: World, running: Running) -> None:
    await world.add(3)
    running()
    await world.until(succeeded=3)
    assert world.upstream("files") == []
    assert await world.store.value("SELECT count(*) FROM running") == 0
    assert await world.store.value("SELECT count(*) FROM processes WHERE kind = 'upstream_batch'") == 0


async def test_other_lanes_and_models_are_left_alone(world: World, running: Running) -> None:
    (bulk,) = await world.add()
    others = [*await world.add(lane="default"), *await world.add(model="sim/fast")]
    running()
    await world.until(succeeded=1, queued=2)
    assert [await world.store.status(job) for job in (bulk, *others)] == ["succeeded", "queued", "queued"]


async def test_a_batch_is_opened_when_it_is_full_or_its_first_job_has_waited(world: World) -> None:
    patient = world.batches(upstream_batch_collect_s=3600, upstream_batch_max_jobs=3)
    await world.add(2)
    await patient._look()
    assert await world.states() == []
    await world.add(2)
    await patient._look()
    assert len(await world.states()) == 1
    await world.store.sql("UPDATE ready SET entered_at = now() - interval '2 h'")
    assert len(await world.states()) == 1
    await world.store.sql("UPDATE upstream_batches SET state = 'filled' WHERE state = 'collecting'")
    await patient._look()
    assert len(await world.states()) == 2
    await patient._stop()


async def test_a_line_that_fails_fails_its_own_job_only(world: World, running: Running) -> None:
    good = await world.add(2)
    bad = await world.steered(error={"status": 400, "message": "no such tool"})
    again = await world.steered(error={"status": 500, "times": 1})
    running()
    await world.until(succeeded=2, failed=1, queued=1)
    assert [await world.store.status(job) for job in good] == ["succeeded"] * 2
    error = orjson.loads((await world.store.job(bad)).error)
    assert error["code"] == "invalid_request" and "no such tool" in error["message"] and error["upstream_status"] == 400
    assert await world.store.outcomes(again) == ["retried"]
    assert await world.store.places(again) == ["waiting"]
    await world.store.make_due()
    await let_in_due(world.store.worker)
    await world.until(succeeded=3, failed=1)
    assert await world.store.outcomes(again) == ["retried", "succeeded"]


async def test_a_job_without_an_attempt_left_fails(world: World, running: Running) -> None:
    (job,) = await world.add(max_attempts=1, body=chat_body(MODEL, sim={"error": {"status": 503}}))
    running()
    await world.until(failed=1)
    assert orjson.loads((await world.store.job(job)).error)["code"] == "attempts_exhausted"


async def test_the_result_of_a_cancelled_job_is_dropped(world: World, running: Running) -> None:
    world.control(hold=True)
    kept, dropped = await world.add(2)
    running()
    await world.until_asked("state")
    await world.store.cancel(world.tenant, dropped)
    world.control()
    await world.until(succeeded=1, cancelled=1)
    assert (await world.store.job(dropped)).result is None
    assert await world.store.status(kept) == "succeeded"


async def test_a_batch_whose_jobs_are_all_cancelled_is_cancelled_upstream(world: World, running: Running) -> None:
    world.control(hold=True)
    jobs = await world.add(3)
    running()
    await world.until_asked("state")
    await world.store.cancel(world.tenant, *jobs)
    await world.until(cancelled=3)
    assert [batch["status"] for batch in world.upstream()] == ["cancelled"]
    assert await world.states() == [("settled", "cancelled")]


async def test_a_batch_that_runs_out_of_time_keeps_its_answers_and_sends_the_rest_back(
    world: World, running: Running
) -> None:
    world.control(expire=True)
    jobs = await world.add(4)
    running()
    await world.until(succeeded=2, queued=2)
    assert await world.states() == [("settled", "expired")]
    late = [job for job in jobs if await world.store.status(job) == "queued"]
    assert [await world.store.outcomes(job) for job in late] == [["retried"]] * 2
    error = await world.store.value("SELECT error FROM attempts WHERE outcome = 'retried' LIMIT 1")
    assert orjson.loads(error)["code"] == "upstream_timeout"


async def test_a_request_that_no_file_speaks_of_is_tried_again(world: World, running: Running) -> None:
    world.control(drop=1)
    await world.add(3)
    running()
    await world.until(succeeded=2, queued=1)
    error = await world.store.value("SELECT error FROM attempts WHERE outcome = 'retried'")
    assert orjson.loads(error)["code"] == "bad_reply"


async def test_a_batch_refused_for_one_line_costs_only_that_job_an_attempt(world: World, running: Running) -> None:
    world.control(fail={"code": "invalid_request", "message": "the body is too odd", "line": 2})
    jobs = await world.add(3)
    running(upstream_batch_collect_s=3600, upstream_batch_max_jobs=3)
    await world.until(queued=3)
    attempts = [row.attempts for row in await world.store.rows("SELECT attempts FROM jobs ORDER BY id")]
    assert attempts == [0, 1, 0]
    assert await world.store.outcomes(jobs[0]) == ["handed_back"]
    assert await world.store.outcomes(jobs[1]) == ["retried"]


async def test_a_full_upstream_costs_no_attempts(world: World, running: Running) -> None:
    world.control(fail={"code": "token_limit_exceeded", "message": "Enqueued token limit reached"})
    jobs = await world.add(2)
    running()
    await world.until(queued=2)
    assert [await world.store.outcomes(job) for job in jobs] == [["handed_back"]] * 2
    assert [await world.store.places(job) for job in jobs] == [["waiting"]] * 2
    assert await world.store.value("SELECT max(attempts) FROM jobs") == 0


@pytest.mark.parametrize("step", ["upload", "submit", "state", "content", "delete"])
async def test_a_step_that_fails_now_and_then_delays_and_harms_nothing(
    world: World, running: Running, step: str
) -> None:
    world.control(errors={step: {"status": 503, "times": 1}})
    jobs = await world.add(2)
    running()
    await world.until(succeeded=2)
    assert len(world.upstream()) == 1
    assert [await world.store.outcomes(job) for job in jobs] == [["succeeded"]] * 2


async def test_jobs_run_as_usual_where_the_upstream_has_no_batches_after_all(world: World, running: Running) -> None:
    world.control(errors={"upload": {"status": 404}})
    jobs = await world.add(2)
    batches = running()
    assert batches.models == {MODEL}
    await world.until(queued=2)
    assert await world.states() == [("settled", "refused")]

    async def paused() -> bool:
        return not batches.models

    await eventually(paused)
    assert [await world.store.places(job) for job in jobs] == [["ready"]] * 2
    assert await world.store.value("SELECT max(attempts) FROM jobs") == 0


async def test_each_endpoint_gets_a_batch_of_its_own(world: World, running: Running) -> None:
    body = orjson.dumps({"model": MODEL, "input": ["a", "b"]}).decode()
    embedding = NewJob(ids.new_id(), world.tenant, "/v1/embeddings", MODEL, body=body, lane="bulk")
    await world.store.accept(embedding)
    await world.add(2)
    running()
    await world.until(succeeded=3)
    assert sorted(batch["endpoint"] for batch in world.upstream()) == ["/v1/chat/completions", "/v1/embeddings"]
    result = orjson.loads((await world.store.job(embedding.id)).result)
    assert [item["index"] for item in result["data"]] == [0, 1]


async def test_streams_are_started_in_the_process_that_claimed_them(world: World, running: Running) -> None:
    (streamed,) = await world.add(stream=True, body=chat_body(MODEL, stream=True))
    (plain,) = await world.add()
    running()
    await world.until(succeeded=1, running=1)
    assert [row.id for row in world.started] == [streamed]
    assert await world.process.renew() == {streamed: 1}
    assert await world.store.status(plain) == "succeeded"


async def test_a_deployment_that_has_left_the_catalog_gives_its_jobs_back(world: World, running: Running) -> None:
    world.control(hold=True)
    await world.add(2)
    running()
    await world.until_asked("state")
    kept = tuple(found for found in world.catalog.deployments if found.name != MODEL)
    world.catalog = replace(world.catalog, deployments=kept)
    await world.until(queued=2)
    assert await world.store.value("SELECT max(attempts) FROM jobs") == 0


async def test_jobs_in_a_batch_are_not_lost_with_their_worker(world: World) -> None:
    world.control(hold=True)
    await world.add(2)
    batches = world.batches()
    await batches._look()
    await world.until_asked("state")
    await batches._stop()
    await world.process.die()
    _, _, taken = await lose_orphans(world.store.worker, PUBLIC_URL)
    assert taken == 0
    assert await world.store.statuses() == {"running": 2}
