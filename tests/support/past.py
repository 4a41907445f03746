"""Jobs of the past: what somebody asked for, and was answered, before the test began."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import orjson

from core import ids
from core.cache import plan_job
from core.store.accept import NewJob
from policies.cache_keys import exact_key
from tests.support.store import CHAT, RESULT, Store

BERLIN = ZoneInfo("Europe/Berlin")
#: A Monday.
NOW = datetime(2026, 3, 2, 8, 45, tzinfo=BERLIN).astimezone(UTC)
WEEKDAYS = [day for day in range(1, 29) if (NOW - timedelta(days=day)).astimezone(BERLIN).weekday() < 5]
_MISS: Final = {"status": "miss", "similarity": None, "age_s": None}
_CASTS: Final = {"body": "json", "result": "json", "cost_usd": "numeric"} | dict.fromkeys(
    ("metadata", "cache_options", "usage", "cache", "timing", "error"), "jsonb"
)


async def answered_at(
    at: datetime,
    store: Store,
    tenant: UUID,
    body: dict[str, Any],
    options: dict[str, Any] | None = None,
    *,
    ms: float = 2000,
    usd: str | None = "0.001",
    **columns: Any,
) -> UUID:
    """Store a job that was handed in and answered at a time; `columns` are other than usual. Returns its id."""
    job = NewJob(
        UUID(int=ids.floor_of(at).int | uuid4().int >> 64), tenant, CHAT, body["model"], orjson.dumps(body).decode()
    )
    plan_job(job, body, options)
    row = {
        "id": job.id, "tenant_id": tenant, "status": "succeeded", "endpoint": CHAT, "model": job.model, "lane": "interactive",
        "priority": 5, "body": job.body, "stream": False, "metadata": "{}", "cache_options": job.cache_options,
        "max_attempts": 5, "timeout_s": 600, "ttl_s": 86_400, "created_at": at, "run_at": at, "expires_at": at,
        "started_at": at, "finished_at": at, "result": RESULT, "usage": '{"total_tokens":100}', "cost_usd": usd,
        "cache": orjson.dumps(_MISS).decode(), "timing": orjson.dumps({"upstream_ms": ms}).decode(), "schedule_id": None,
        **columns,
    }  # fmt: skip
    values = [f"CAST(CAST(:{name} AS text) AS {_CASTS[name]})" if name in _CASTS else f":{name}" for name in row]
    await store.sql(f"INSERT INTO jobs ({', '.join(row)}) VALUES ({', '.join(values)})", **row)
    return job.id


def body_of(prompt: str, **more: Any) -> dict[str, Any]:
    return {"model": "sim/fast", "messages": [{"role": "user", "content": prompt}], "temperature": 0, **more}


def key_of(tenant: UUID, prompt: str) -> bytes:
    return exact_key(tenant=tenant, endpoint=CHAT, model="sim/fast", body=body_of(prompt))


class Past:
    """What a tenant asked for, in the weeks before `NOW`."""

    def __init__(self, store: Store, tenant: UUID) -> None:
        self._store = store
        self._tenant = tenant

    async def asked(
        self,
        prompt: str,
        days: Iterable[int] = WEEKDAYS,
        hour: int = 9,
        *,
        tenant: UUID | None = None,
        ms: float = 2000,
        usd: str | None = "0.001",
        options: dict[str, Any] | None = None,
        body: dict[str, Any] | None = None,
        **columns: Any,
    ) -> list[UUID]:
        """Somebody asked at ten past an hour (in Berlin), so many days ago, and was answered; the jobs."""
        made = []
        for day in days:
            wall = (NOW - timedelta(days=day)).astimezone(BERLIN).replace(hour=hour, minute=10)
            asked = body or body_of(prompt)
            made.append(
                await answered_at(wall, self._store, tenant or self._tenant, asked, options, ms=ms, usd=usd, **columns)
            )
        return made
