"""What a claim costs with a hundred thousand jobs waiting, counted in rows and pages instead of milliseconds."""

from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import UUID

import orjson
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from core import ids
from core.database import connect
from core.settings import Settings
from core.store.statements import statement
from tests.support.store import Store

WAITING = 100_000
BATCH = 32


@pytest.fixture(scope="module")
def filled() -> list[UUID]:
    return []


@pytest.fixture
async def full_store(module_database_url: str, filled: list[UUID]) -> AsyncIterator[Store]:
    """A store with 100,000 waiting jobs of a saturated model and 2,000 of others, filled once for this module."""
    settings = Settings(database_url=module_database_url)
    engines = [
        connect(settings, role, pool_size=2, name="test") for role in (None, "coatcheck_api", "coatcheck_worker")
    ]
    store = Store(*engines)
    if not filled:
        filled.append(await _fill(store))
    yield store
    for engine in engines:
        await engine.dispose()


async def _fill(store: Store) -> UUID:
    tenant = await store.tenant()
    await store.sql(
        f"""
        WITH made AS (
          INSERT INTO jobs (id, tenant_id, status, endpoint, model, lane, priority, body, stream, metadata, max_attempts,
            timeout_s, ttl_s, created_at, run_at, expires_at)
          SELECT (left(replace(uuid7_floor(now())::text, '-', ''), 12) || lpad(to_hex(n), 20, '0'))::uuid, :tenant, 'queued',
            '/v1/chat/completions', CASE WHEN n > {WAITING} THEN 'idle' ELSE 'busy' END, 'default', n % 10, '{{}}', false,
            '{{}}', 5, 60, 60, now(), now(), now() + interval '1 d'
          FROM generate_series(1, {WAITING} + 2000) n RETURNING *)
        INSERT INTO ready (job_id, tenant_id, lane, model, tag, priority, body_bytes, expires_at)
        SELECT id, tenant_id, lane, model, row_number() OVER (ORDER BY id), priority, 2, expires_at FROM made
        """,
        tenant=tenant,
    )
    await store.sql(
        "INSERT INTO tenant_turns VALUES ('default', :tenant, :tag)", tenant=tenant, tag=float(WAITING + 2000)
    )
    for table in ("ready", "jobs"):
        await store.sql(f"ANALYZE {table}")
    return tenant


async def explain(engine: AsyncEngine, name: str, **parameters: Any) -> dict[str, Any]:
    """Run the statement for its plan and its counters, and take it back."""
    async with engine.connect() as connection:
        explained = text(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement(name).text}")
        raw = (await connection.execute(explained, parameters)).scalar_one()
        await connection.rollback()
    plan: dict[str, Any] = (orjson.loads(raw) if isinstance(raw, str) else raw)[0]["Plan"]
    return plan


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def pages(plan: dict[str, Any]) -> int:
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


def rows_of_ready(plan: dict[str, Any]) -> float:
    """Rows that scans of the ready table brought or threw away."""
    return float(
        sum(
            (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
            for node in nodes(plan)
            if node.get("Relation Name") == "ready" and "Scan" in node["Node Type"]
        )
    )


def claim_parameters(models: list[str], **more: Any) -> dict[str, Any]:
    return {
        "lane": "default", "process_id": ids.new_id(), "most": BATCH, "bytes": 2**26, "model": models,
        "room": [BATCH] * len(models), "deployment": [None] * len(models), **more,
    }  # fmt: skip


@pytest.mark.parametrize(
    "models", [["busy"], ["idle"], ["busy", "idle"], [f"unused-{n}" for n in range(20)] + ["idle"]]
)
async def test_a_claim_goes_by_index_and_touches_only_what_it_takes(full_store: Store, models: list[str]) -> None:
    plan = await explain(full_store.worker, "claim", **claim_parameters(models))
    whole = [
        (node["Node Type"], node["Relation Name"])
        for node in nodes(plan)
        if node["Node Type"] in ("Seq Scan", "Bitmap Heap Scan") and node["Relation Name"].startswith(("ready", "jobs"))
    ]
    assert whole == []
    assert plan["Actual Rows"] == BATCH
    assert rows_of_ready(plan) <= 10 * BATCH
    assert pages(plan) < 6000


async def test_passing_over_a_full_tenant_costs_nothing_per_job_of_it(full_store: Store, filled: list[UUID]) -> None:
    plan = await explain(full_store.worker, "claim_beside", **claim_parameters(["busy", "idle"], full=filled))
    assert plan["Actual Rows"] == 0
    assert rows_of_ready(plan) == 0
    assert pages(plan) < 100


async def _hold_back(store: Store, tenant: UUID) -> None:
    """Put 100,000 jobs of a saturated concurrency key beside the queue, more urgent than anything in it."""
    await store.sql(
        f"""
        INSERT INTO held_back (job_id, tenant_id, concurrency_key, lane, model, priority, body_bytes, expires_at)
        SELECT gen_random_uuid(), :tenant, 'saturated', 'default', 'idle', 9, 2, now() + interval '1 d'
        FROM generate_series(1, {WAITING})
        """,
        tenant=tenant,
    )
    await store.sql(
        "INSERT INTO concurrency_keys (tenant_id, key, max_active, named_by) VALUES (:tenant, 'saturated', 5, :tenant)",
        tenant=tenant,
    )
    await store.sql("ANALYZE held_back")


async def test_a_saturated_concurrency_key_stands_outside_the_way_of_a_claim(
    full_store: Store, filled: list[UUID]
) -> None:
    before = await explain(full_store.worker, "claim", **claim_parameters(["idle"]))
    await _hold_back(full_store, filled[0])
    after = await explain(full_store.worker, "claim", **claim_parameters(["idle"]))
    assert after["Actual Rows"] == BATCH
    assert not [node for node in nodes(after) if node.get("Relation Name") in ("held_back", "concurrency_keys")]
    assert rows_of_ready(after) == rows_of_ready(before)
    assert pages(after) <= 1.1 * pages(before)


async def test_the_next_jobs_of_a_long_key_are_found_by_index(full_store: Store, filled: list[UUID]) -> None:
    """Runs behind the test above, which fills the key."""
    if not await full_store.value("SELECT count(*) FROM held_back"):
        await _hold_back(full_store, filled[0])
    plan = await explain(full_store.worker, "enter", id=[], tenant_id=filled, key=["saturated"])
    assert plan["Actual Rows"] == 1  # the one lane
    entered = [
        node for node in nodes(plan) if node.get("Relation Name") == "ready" and node["Node Type"] == "ModifyTable"
    ]
    assert [node["Plans"][0]["Actual Rows"] for node in entered] == [5]
    touched = [node for node in nodes(plan) if node.get("Relation Name") == "held_back" and "Scan" in node["Node Type"]]
    assert all(node["Node Type"].startswith("Index") for node in touched)
    assert sum(node["Actual Rows"] * node["Actual Loops"] for node in touched) <= 20
    assert pages(plan) < 1000


async def test_a_glance_at_a_long_queue_reads_a_few_pages(full_store: Store) -> None:
    wanted = statement("glance").text
    parameters = {"lanes": ["default", "bulk"]} if ":lanes" in wanted else {}
    plan = await explain(full_store.worker, "glance", **parameters)
    assert pages(plan) < 200
    assert rows_of_ready(plan) < 50


async def test_the_position_in_a_long_queue_is_counted_to_its_limit_only(full_store: Store) -> None:
    last = await full_store.value("SELECT max(job_id::text)::uuid FROM ready WHERE model = 'busy'")
    async with full_store.owner.connect() as connection:
        await connection.execute(text("SELECT queue_position(:job, 1000)"), {"job": last})
        query = "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT queue_position(:job, 1000)"
        raw = (await connection.execute(text(query), {"job": last})).scalar_one()
    plan = (orjson.loads(raw) if isinstance(raw, str) else raw)[0]["Plan"]
    assert pages(plan) < 3000
