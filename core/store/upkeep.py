"""Keeping the store small and its locks free: weeks made ahead and dropped behind, what is over deleted, the silent let go."""

from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from core.store.statements import statement

# Every partition of a table costs each statement on it a little; a week that nobody made in time is caught by the default one.
_WEEKS_AHEAD: Final = 1
_BY_WEEKS: Final = timedelta(days=14)
_WEEK_AND_A_DAY: Final = timedelta(days=8)
_UPKEEP_LOCK: Final = 4_270_197_020

_TRY_LOCK = text("SELECT pg_try_advisory_xact_lock(:lock)")
_KEEP = text("SELECT keep_partitions(:ahead)")
_DROP = text("SELECT drop_partitions(CAST(:before AS timestamptz))")
_OLD_KEYS = text(
    "DELETE FROM idempotency_keys WHERE (tenant_id, key) IN (SELECT tenant_id, key FROM idempotency_keys "
    "WHERE created_at < now() - interval '24 hours' ORDER BY created_at LIMIT :most)"
)
_OLD_EVENTS = text(
    "DELETE FROM webhook_events WHERE id IN (SELECT e.id FROM webhook_events e "
    "WHERE e.id < uuid7_floor(CAST(:before AS timestamptz)) AND NOT EXISTS (SELECT FROM webhook_deliveries d "
    "WHERE d.event_id = e.id AND d.status IN ('pending', 'sending')) ORDER BY e.id LIMIT :most)"
)
_OLD_GROUPS = text(
    "DELETE FROM groups WHERE id IN (SELECT g.id FROM groups g WHERE g.finished_at < CAST(:before AS timestamptz) "
    "AND g.id < uuid7_floor(CAST(:before AS timestamptz)) "
    "AND NOT EXISTS (SELECT FROM jobs j WHERE j.group_id = g.id) ORDER BY g.id LIMIT :most)"
)

_END_SILENT = text("SELECT end_silent_sessions(CAST(:silent_s AS double precision))")

_OLD_HOURS = text(
    "DELETE FROM cache_hours WHERE ctid = ANY (ARRAY(SELECT ctid FROM cache_hours "
    "WHERE hour < CAST(:before AS timestamptz) LIMIT :most))"
)


async def keep_partitions(engine: AsyncEngine) -> int:
    """Make the weeks ahead; return how many tables were made."""
    async with engine.begin() as connection:
        made: int = (await connection.execute(_KEEP, {"ahead": _WEEKS_AHEAD})).scalar_one()
        return made


async def drop_weeks(engine: AsyncEngine, retention: timedelta) -> list[str]:
    """Drop the weeks that are over and hold nothing unfinished or younger; return their names."""
    async with engine.begin() as connection:
        rows = await connection.execute(_DROP, {"before": datetime.now(UTC) - retention})
        return [str(row[0]) for row in rows]


async def retire_batch(engine: AsyncEngine, retention: timedelta, most: int = 500) -> int:
    """Delete one small batch of what is over; return how many rows of the largest kind went, 0 when nothing is left.

    With a long retention whole weeks are dropped, and only what a kept week holds back goes row by row; with a short one
    everything does. Only one process at a time does this; the others find nothing to do.
    """
    before = datetime.now(UTC) - retention
    if retention >= _BY_WEEKS:
        before -= _WEEK_AND_A_DAY
    async with engine.begin() as connection:
        if not (await connection.execute(_TRY_LOCK, {"lock": _UPKEEP_LOCK})).scalar_one():
            return 0
        jobs: int = (await connection.execute(statement("retire"), {"before": before, "most": most})).scalar_one()
        others = [
            await _delete(connection, _OLD_KEYS, most=most),
            await _delete(connection, _OLD_EVENTS, before=before, most=most),
            await _delete(connection, _OLD_GROUPS, before=before, most=most),
            await _delete(connection, _OLD_HOURS, before=before, most=most),
        ]
        return max(jobs, *others)


async def end_silent_sessions(engine: AsyncEngine, silent_s: float) -> int:
    """End sessions of ours whose client has said nothing for ``silent_s`` seconds in the middle of something; return how many."""
    async with engine.begin() as connection:
        ended: int = (await connection.execute(_END_SILENT, {"silent_s": silent_s})).scalar_one()
        return ended


async def _delete(connection: AsyncConnection, query: object, **parameters: object) -> int:
    result = await connection.execute(query, parameters)  # type: ignore[call-overload]
    return int(result.rowcount)
