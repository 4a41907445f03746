"""`backlog`: what a claim costs with a thousand, a hundred thousand and a million jobs waiting."""

import asyncio
import json
import time
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from bench import jobs
from bench.figures import Figure, Must, median, percentile
from bench.world import World
from core import ids
from core.database import connect
from core.store.statements import positional
from core.store.work import Room, claim, claiming

_CLAIM = 32
_ROOM = {"sim/bench": 2048, "sim/chat": 2048, "sim/fast": 2048}
_TENANTS = 20
_LANE = "default"
_WARM_UP = 8  # claims until the statement is prepared and the cache is warm

# Bodies of 1 kB; 20 tenants take turns, three models, one priority or all of them; ids rise with time as UUIDv7s do. Both
# tables are emptied in the same transaction, so that a million rows need not go through the write-ahead log.
_FILL_JOBS = text("""
INSERT INTO jobs (id, tenant_id, status, endpoint, model, lane, priority, body, stream, metadata, max_attempts, timeout_s, ttl_s,
  created_at, run_at, expires_at)
SELECT CAST(lpad(to_hex(CAST(:first AS bigint) + n / 16), 12, '0') || '7' || lpad(to_hex(n % 4096), 3, '0') || '8'
    || lpad(to_hex(n), 15, '0') AS uuid),
  (CAST(:tenants AS uuid[]))[1 + n % cardinality(CAST(:tenants AS uuid[]))], 'queued', '/v1/chat/completions',
  (CAST(:models AS text[]))[1 + (n / 7) % cardinality(CAST(:models AS text[]))], :lane,
  CASE WHEN CAST(:mixed AS boolean) THEN (n * 7) % 10 ELSE 5 END,
  CAST(:body AS json), false, '{}', 5, 600, 86400, now(), now(), now() + interval '1 day'
FROM generate_series(0, CAST(:count AS integer) - 1) AS n
""")
_FILL_READY = text("""
INSERT INTO ready (job_id, tenant_id, lane, model, tag, priority, body_bytes, expires_at)
SELECT id, tenant_id, lane, model, row_number() OVER (PARTITION BY tenant_id ORDER BY id), priority, 1000, expires_at FROM jobs
""")
_FILL_TURNS = text("""
INSERT INTO tenant_turns (lane, tenant_id, finish_tag) SELECT lane, tenant_id, max(tag) FROM ready GROUP BY lane, tenant_id
""")
_FILL_HELD = text("""
INSERT INTO held_back (job_id, tenant_id, concurrency_key, lane, model, priority, body_bytes, expires_at)
SELECT gen_random_uuid(), CAST(:tenant AS uuid), 'saturated', :lane, (CAST(:models AS text[]))[1], 9, 1000,
  now() + interval '1 day'
FROM generate_series(1, CAST(:count AS integer))
""")
_HELD = 100_000


def measure(world: World) -> list[Figure]:
    """Claim 32 jobs again and again from queues of different lengths."""
    whole: dict[int, list[float]] = {}
    alone: dict[int, list[float]] = {}
    for waiting in world.sizes.backlogs:
        whole[waiting], alone[waiting] = _timed(world, waiting, mixed=False)
    least, most = min(whole), max(whole)
    _, mixed = _timed(world, most, mixed=True)
    _, behind = _timed(world, least, mixed=False, held=_HELD)
    jobs.empty(world)
    note = (
        "the medians of the claim's statement and of the worker's whole claim, durably committed, "
        "as one worker sees them; 1 kB bodies, 20 tenants, 3 models, one priority. With all priorities mixed nearly every "
        "claimed job spends another one's turn, and that one's row is written too"
    )
    figures = []
    for waiting, times in alone.items():
        must = Must("≤", 1.5) if waiting == most else None
        figures.append(Figure("backlog", f"claiming {_CLAIM} of {waiting:,}", median(times), "ms", must, None, note))
    told = f"claiming {_CLAIM} of {most:,}, all priorities"
    figures.append(Figure("backlog", told, median(mixed), "ms"))
    told = f"claiming {_CLAIM} behind {_HELD:,} of a saturated concurrency key"
    figures.append(Figure("backlog", told, median(behind), "ms", Must("≤", 1.5)))
    growth = median(alone[most]) / median(alone[least])
    figures.append(Figure("backlog", f"the time at {most:,} over that at {least:,}", growth, "×", Must("≤", 3)))
    for waiting, times in whole.items():
        told = f"committed, {waiting:,} waiting"
        figures.append(Figure("backlog", told, median(times), "ms"))
        figures.append(Figure("backlog", f"{told}, p99", percentile(times, 0.99), "ms"))
    return figures


def _timed(world: World, waiting: int, *, mixed: bool, held: int = 0) -> tuple[list[float], list[float]]:
    beside = f", {held:,} held back" if held else ""
    world.say(f"claims with {waiting:,} jobs waiting{', all priorities' if mixed else ''}{beside}")
    began = time.monotonic()
    jobs.empty(world)
    jobs.in_database(world, lambda engine: _fill(engine, waiting, mixed=mixed, held=held))
    jobs.checkpoint(world)
    world.say(f"  (filled in {time.monotonic() - began:.1f} s)")
    return asyncio.run(_claims(world, world.sizes.claims, waiting))


async def _fill(engine: AsyncEngine, count: int, *, mixed: bool, held: int = 0) -> None:
    body = json.dumps(jobs.chat_body(1))
    tenants: list[UUID] = [ids.new_id() for _ in range(_TENANTS)]
    async with engine.begin() as connection:
        await connection.execute(text("SET LOCAL statement_timeout = 0"))
        await connection.execute(text("TRUNCATE jobs, ready, held_back, tenant_turns"))
        first = int((time.time() - 3600) * 1000)
        values = {
            "first": first,
            "count": count,
            "tenants": tenants,
            "models": list(_ROOM),
            "lane": _LANE,
            "body": body,
            "mixed": mixed,
        }
        await connection.execute(_FILL_JOBS, values)
        await connection.execute(_FILL_READY)
        await connection.execute(_FILL_TURNS)
        if held:
            await connection.execute(
                _FILL_HELD, {"tenant": tenants[0], "lane": _LANE, "models": list(_ROOM), "count": held}
            )
    async with engine.connect() as opened:
        connection = await opened.execution_options(isolation_level="AUTOCOMMIT")
        await connection.execute(text("SET statement_timeout = 0"))
        # What autovacuum would have done by the time a queue is that long.
        for table in ("jobs", "ready", "held_back", "tenant_turns"):
            await connection.execute(text(f"VACUUM ANALYZE {table}"))


async def _claims(world: World, times: int, waiting: int) -> tuple[list[float], list[float]]:
    """Return the times of whole claims and of their statement alone (ms)."""
    engine = connect(world.settings, "coatcheck_worker", pool_size=2, name="bench")
    process = ids.new_id()
    room = Room(_CLAIM, 64 * 2**20, _ROOM)
    whole: list[float] = []
    alone: list[float] = []
    # A short queue must not become empty: committed claims take a fifth of it at most, the others are rolled back.
    committed = min(times, max(4, waiting // 5 // _CLAIM))
    for turn in range(_WARM_UP + times):
        claimed, took = await _statement(engine, process, room)
        assert claimed == _CLAIM, f"claimed {claimed}"
        if turn >= _WARM_UP:
            alone.append(took * 1000)
        if turn * committed // times > (turn - 1) * committed // times and len(whole) < committed:
            began = time.perf_counter()
            claimed = len(await claim(engine, _LANE, process, room))
            whole.append((time.perf_counter() - began) * 1000)
            assert claimed == _CLAIM, f"claimed {claimed}"
    await engine.dispose()
    return whole, alone


async def _statement(engine: AsyncEngine, process: UUID, room: Room) -> tuple[int, float]:
    """Run the claim's statement as the worker does, straight through the driver, and take it back."""
    name, parameters = claiming(_LANE, process, room)
    sql, names = positional(name)
    async with engine.connect() as connection:
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        transaction = driver.transaction()
        await transaction.start()
        began = time.perf_counter()
        rows = await driver.fetch(sql, *[parameters[each] for each in names])
        took = time.perf_counter() - began
        await transaction.rollback()
    return len(rows), took
