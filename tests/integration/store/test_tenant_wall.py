"""Row-level security: what the API's connections can see even if a query forgets to name its tenant."""

from collections.abc import Callable
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import see_tenants
from core.secrets import SecretBox, new_secret_key
from core.store.accept import accepting
from core.store.keys import authenticate, create_key, revoke_key
from core.store.reading import read_job
from core.store.statements import fetch
from tests.support.store import Store, new_job

WALLED = (
    "jobs", "attempts", "job_events", "groups", "idempotency_keys", "ready", "waiting", "running", "webhook_endpoints",
    "webhook_events", "webhook_deliveries", "tenants", "held_back", "concurrency_keys", "usage_days",
)  # fmt: skip
DENIED = "42501"


async def count(engine: AsyncEngine, table: str, *tenants: Any) -> int:
    async with engine.connect() as connection:
        if tenants:
            await see_tenants(connection, tenants)
        return int((await connection.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one())


async def test_the_api_sees_the_tenants_it_named_and_nobody_else(store: Store) -> None:
    first, second, third = [await store.tenant() for _ in range(3)]
    for tenant in (first, second, second, third):
        await store.add(tenant)
    for table in ("jobs", "ready"):
        assert await count(store.api, table) == 0
        assert await count(store.api, table, first) == 1
        assert await count(store.api, table, second) == 2
        assert await count(store.api, table, first, second) == 3
        assert await count(store.worker, table) == 4


async def test_every_table_of_a_tenant_has_a_wall(store: Store) -> None:
    rows = await store.rows(
        "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND NOT c.relrowsecurity"
    )
    without = {row.relname for row in rows}
    holding = await store.rows(
        "SELECT table_name FROM information_schema.columns WHERE table_schema = 'public' AND column_name = 'tenant_id'"
    )
    # Turns hold nothing but a number per tenant, and commits of several tenants touch them together.
    assert {row.table_name for row in holding} & without <= {"tenant_turns"} | {
        row.table_name for row in holding if "_2" in row.table_name or row.table_name.endswith("_default")
    }
    assert not set(WALLED) & without


async def test_partitions_cannot_be_read_around_the_wall(store: Store) -> None:
    await store.add(await store.tenant())
    rows = await store.rows(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'jobs'::regclass"
    )
    assert len(rows) == 3  # this week, the next, and the default
    for row in rows:
        with pytest.raises(DBAPIError) as denied:
            await count(store.api, row.name)
        assert denied.value.orig is not None
        assert denied.value.orig.sqlstate == DENIED  # type: ignore[attr-defined]


async def test_a_reused_connection_sees_nothing_until_it_names_a_tenant(
    store: Store, open_engine: Callable[..., AsyncEngine]
) -> None:
    """After a transaction that named tenants, the setting is an empty string and no longer null."""
    tenant = await store.tenant()
    await store.add(tenant)
    engine = open_engine("coatcheck_api", pool_size=2)
    assert await count(engine, "jobs", tenant) == 1
    async with engine.connect() as connection:
        setting = text("SELECT current_setting('app.tenants', true)")
        assert (await connection.execute(setting)).scalar_one() == ""
    for table in WALLED:
        assert await count(engine, table) == 0


async def test_naming_nobody_shows_nothing(store: Store) -> None:
    tenant = await store.tenant()
    await store.add(tenant)
    async with store.api.connect() as connection:
        await see_tenants(connection, [])
        assert (await connection.execute(text("SELECT count(*) FROM jobs"))).scalar_one() == 0


async def test_a_row_for_an_unnamed_tenant_is_refused(store: Store) -> None:
    mine, other = await store.tenant(), await store.tenant()
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
        await fetch(store.api, "accept", accepting([new_job(mine), new_job(other)], tenants=[mine]))
    assert await store.value("SELECT count(*) FROM jobs") == 0


async def test_another_tenants_rows_can_be_neither_changed_nor_deleted(store: Store) -> None:
    mine, other = await store.tenant(), await store.tenant()
    job = await store.add(other)
    async with store.api.begin() as connection:
        await see_tenants(connection, [mine])
        for statement in ("UPDATE jobs SET priority = 0", "DELETE FROM jobs", "DELETE FROM ready"):
            assert (await connection.execute(text(statement))).rowcount == 0
    assert (await store.job(job)).priority == 5


async def test_a_row_cannot_be_given_to_another_tenant(store: Store) -> None:
    mine, other = await store.tenant(), await store.tenant()
    await store.add(mine)
    async with store.api.connect() as connection:
        await see_tenants(connection, [mine])
        with pytest.raises(DBAPIError, match="row-level security"):
            await connection.execute(text("UPDATE jobs SET tenant_id = :other"), {"other": other})


async def test_a_foreign_job_reads_like_one_that_is_not_there(store: Store) -> None:
    mine, other = await store.tenant(), await store.tenant()
    job = await store.add(other)
    assert await read_job(store.api, mine, job) is None
    row = await read_job(store.api, other, job)
    assert row is not None
    assert row["queue_position"] == 1


async def test_the_queue_position_counts_jobs_that_the_asker_cannot_see(store: Store) -> None:
    mine, other = await store.tenant(), await store.tenant()
    await store.accept(*(new_job(other) for _ in range(2)))
    job = await store.add(mine)
    row = await read_job(store.api, mine, job)
    assert row is not None
    assert row["queue_position"] in (1, 2)
    await store.accept(*(new_job(mine) for _ in range(2)))
    last = await store.add(mine)
    row = await read_job(store.api, mine, last)
    assert row is not None
    assert row["queue_position"] == 6


@pytest.mark.parametrize("role", ["coatcheck_api", "coatcheck_worker"])
@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM api_keys",
        "INSERT INTO api_keys (id, tenant_id, token_hash, prefix, scopes) SELECT id, id, '', '', '{}' FROM tenants",
        "UPDATE tenants SET weight = 100",
        "DELETE FROM tenants",
        "CREATE TABLE mine (id int)",
        "DROP TABLE ready",
        "ALTER TABLE jobs DISABLE ROW LEVEL SECURITY",
        "TRUNCATE jobs",
        "SET ROLE postgres",
    ],
)
async def test_processes_may_do_no_more_than_they_must(
    open_engine: Callable[..., AsyncEngine], role: str, statement: str
) -> None:
    async with open_engine(role).connect() as connection:
        with pytest.raises(DBAPIError) as denied:
            await connection.execute(text(statement))
    assert denied.value.orig is not None
    assert denied.value.orig.sqlstate == DENIED  # type: ignore[attr-defined]


@pytest.mark.parametrize("call", ["keep_partitions(1)", "drop_partitions(now())"])
async def test_the_api_may_not_touch_partitions(store: Store, call: str) -> None:
    async with store.api.connect() as connection:
        with pytest.raises(DBAPIError, match="permission denied"):
            await connection.execute(text(f"SELECT {call}"))


async def test_a_key_is_found_by_its_hash_and_only_through_the_function(store: Store) -> None:
    made = await create_key(store.owner, SecretBox.from_setting(new_secret_key()), "acme", ("jobs:read",), 60)
    found = await authenticate(store.api, made.key)
    assert found is not None
    assert (found.id, found.scopes, found.requests_per_minute) == (made.id, frozenset({"jobs:read"}), 60)
    assert await authenticate(store.api, made.key + "x") is None
    assert await authenticate(store.api, made.key[:-1]) is None
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await authenticate(store.worker, made.key)
    stored = await store.rows("SELECT token_hash, prefix FROM api_keys")
    assert made.key.encode() not in bytes(stored[0].token_hash)
    assert len(stored[0].prefix) <= 12
    await revoke_key(store.owner, made.id)
    assert await authenticate(store.api, made.key) is None


async def test_a_tenant_name_with_a_comma_or_quote_cannot_widen_the_view(store: Store) -> None:
    mine = await store.tenant()
    await store.add(mine)
    await store.add(await store.tenant())
    async with store.api.connect() as connection:
        setting = text("SELECT set_config('app.tenants', :value, true)")
        await connection.execute(setting, {"value": f"{mine}' OR true --"})
        with pytest.raises(DBAPIError):
            await connection.execute(text("SELECT count(*) FROM jobs"))
