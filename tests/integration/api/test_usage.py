"""GET /v1/usage: sums of the caller's own tenant."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from core import ids
from tests.support.api import Api, Caller
from tests.support.store import Store

KEY = UUID("0192d000-0000-7000-8000-000000000001")


@pytest.fixture
async def books(store: Store, caller: Caller) -> None:
    rows: list[tuple[UUID, str, UUID, str, int, int, str, int]] = [
        (caller.tenant_id, "2026-11-18", KEY, "large", 10, 1, "0.5", 0),
        (caller.tenant_id, "2026-11-18", KEY, "small", 5, 0, "0.00000002", 0),
        (caller.tenant_id, "2026-11-19", KEY, "large", 1, 0, "0.25", 0),
        (caller.tenant_id, "2026-11-19", UUID(int=0), "local", 7, 0, "0", 7),
        (uuid4(), "2026-11-19", KEY, "large", 100, 0, "99", 0),
    ]
    for slot, (tenant, day, key, model, jobs, failed, usd, unpriced) in enumerate(rows):
        await store.sql(
            "INSERT INTO usage_days (tenant_id, day, key_id, model, endpoint, lane, slot, jobs, failed, input_tokens, "
            "output_tokens, cost_usd, unpriced_jobs) VALUES (:tenant, cast(:day AS text)::date, :key, :model, "
            "'/v1/chat/completions', 'bulk', :slot, :jobs, :failed, :given, :told, cast(:usd AS text)::numeric, :unpriced)",
            tenant=tenant, day=day, key=key, model=model, slot=slot, jobs=jobs, failed=failed, usd=usd, unpriced=unpriced,
            given=jobs * 100, told=jobs * 10,
        )  # fmt: skip


async def read(caller: Caller, **query: Any) -> Any:
    return await caller.get("/v1/usage", **({"from": "2026-11-01", "to": "2026-11-30"} | query))


async def test_usage_is_summed_by_day_and_model_of_the_own_tenant(caller: Caller, books: None) -> None:
    told = await read(caller)
    assert (told["object"], told["from"], told["to"], told["group_by"]) == (
        "usage",
        "2026-11-01",
        "2026-11-30",
        ["day", "model"],
    )
    rows = [(row["day"], row["model"], row["jobs"], row["cost_usd"]) for row in told["data"]]
    assert rows == [
        ("2026-11-18", "large", 10, "0.5"),
        ("2026-11-18", "small", 5, "0.00000002"),
        ("2026-11-19", "large", 1, "0.25"),
        ("2026-11-19", "local", 7, None),
    ]
    assert told["total"] == {
        "jobs": 23, "failed": 1, "input_tokens": 2300, "output_tokens": 230, "cached_tokens": 0, "total_tokens": 2530,
        "saved_tokens": 0, "cost_usd": "0.75000002", "unpriced_jobs": 7,
    }  # fmt: skip


async def test_usage_is_told_by_key_and_a_job_without_one_has_none(caller: Caller, books: None) -> None:
    told = await read(caller, group_by="key")
    key = ids.encode(ids.KEY, KEY)
    assert [(row["key_id"], row["jobs"]) for row in told["data"]] == [(None, 7), (key, 16)]
    assert (await read(caller, group_by="model", key_id=key, model="large"))["total"]["jobs"] == 11


async def test_without_days_the_last_thirty_are_told(caller: Caller) -> None:
    told = await caller.get("/v1/usage")
    assert told["to"] == datetime.now(UTC).date().isoformat()
    assert (datetime.fromisoformat(told["to"]) - datetime.fromisoformat(told["from"])).days == 29
    assert told["data"] == [] and told["total"] is None
    assert (await caller.get("/v1/usage", to="0001-01-05"))["from"] == "0001-01-01"


@pytest.mark.parametrize(
    "query",
    [
        {"from": "yesterday"},
        {"from": "2026-12-01"},
        {"from": "2020-01-01"},
        {"group_by": "tenant"},
        {"key_id": "key_x"},
        {"tenant": "other"},
    ],
)
async def test_impossible_questions_are_refused(caller: Caller, query: dict[str, str]) -> None:
    answer = await caller.http.get("/v1/usage", params={"to": "2026-11-30"} | query)
    assert answer.status_code == 422


async def test_reading_usage_needs_the_scope_to_read_jobs(api: Api) -> None:
    writer = await api.caller("acme", "jobs:write")
    assert (await writer.http.get("/v1/usage")).status_code == 403
