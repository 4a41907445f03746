"""The database refuses nonsense, whoever writes it."""

from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from core import ids
from tests.support.store import Store

JOB: dict[str, Any] = {
    "status": "'queued'", "endpoint": "'/v1/chat/completions'", "model": "'m'", "lane": "'default'", "priority": "5",
    "body": "'{}'", "stream": "false", "metadata": "'{}'", "max_attempts": "5", "attempts": "0", "lease_no": "0",
    "timeout_s": "60", "ttl_s": "60", "created_at": "now()", "run_at": "now()", "expires_at": "now() + interval '1 d'",
    "started_at": "null", "finished_at": "null", "result": "null", "error": "null",
}  # fmt: skip


async def insert(store: Store, table: str, values: dict[str, Any]) -> None:
    columns = ", ".join(values)
    await store.sql(f"INSERT INTO {table} ({columns}) VALUES ({', '.join(values.values())})")


async def insert_job(store: Store, **changes: str) -> None:
    values = {"id": f"'{ids.new_id()}'", "tenant_id": f"'{ids.new_id()}'", **JOB, **changes}
    await insert(store, "jobs", values)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"status": "'running'", "started_at": "now()", "attempts": "1", "lease_no": "1"},
        {"status": "'succeeded'", "finished_at": "now()", "result": "'{}'"},
        {"status": "'failed'", "finished_at": "now()", "error": "'{}'"},
        {"status": "'cancelled'", "finished_at": "now()"},
        {"status": "'expired'", "finished_at": "now()"},
        {"attempts": "0", "lease_no": "7"},
    ],
)
async def test_sound_jobs_are_taken(store: Store, changes: dict[str, str]) -> None:
    await insert_job(store, **changes)


@pytest.mark.parametrize(
    ("constraint", "changes"),
    [
        ("jobs_status_check", {"status": "'paused'"}),
        ("jobs_finished_at_check", {"finished_at": "now()"}),
        ("jobs_finished_at_check", {"status": "'cancelled'"}),
        ("jobs_finished_at_check", {"status": "'succeeded'", "result": "'{}'"}),
        ("jobs_started_at_check", {"status": "'running'"}),
        ("jobs_result_check", {"status": "'succeeded'", "finished_at": "now()"}),
        ("jobs_result_check", {"result": "'{}'"}),
        ("jobs_result_check", {"status": "'cancelled'", "finished_at": "now()", "result": "'{}'"}),
        ("jobs_error_check", {"status": "'failed'", "finished_at": "now()"}),
        ("jobs_error_check", {"error": "'{}'"}),
        ("jobs_priority_check", {"priority": "10"}),
        ("jobs_priority_check", {"priority": "-1"}),
        ("jobs_lane_check", {"lane": "'webhooks'"}),
        ("jobs_attempts_check", {"attempts": "1"}),
        ("jobs_attempts_check", {"attempts": "-1"}),
        ("jobs_expires_at_check", {"expires_at": "now() - interval '1 s'"}),
    ],
)
async def test_a_job_that_makes_no_sense_is_refused(store: Store, constraint: str, changes: dict[str, str]) -> None:
    with pytest.raises(IntegrityError, match=constraint):
        await insert_job(store, **changes)


@pytest.mark.parametrize(
    ("constraint", "table", "values"),
    [
        ("groups_remaining_check", "groups", {"total": "1", "remaining": "2"}),
        ("groups_remaining_check", "groups", {"total": "1", "remaining": "-1"}),
        ("groups_finished_check", "groups", {"total": "1", "remaining": "0"}),
        ("groups_finished_check", "groups", {"total": "1", "remaining": "1", "finished_at": "now()"}),
        ("tenants_weight_check", "tenants", {"name": "'a'", "weight": "0", "webhook_secret_encrypted": "''"}),
    ],
)
async def test_other_nonsense_is_refused(store: Store, constraint: str, table: str, values: dict[str, str]) -> None:
    new = {"id": f"'{ids.new_id()}'"} | ({} if table == "tenants" else {"tenant_id": f"'{ids.new_id()}'"})
    with pytest.raises(IntegrityError, match=constraint):
        await insert(store, table, new | values)


@pytest.mark.parametrize(
    ("constraint", "values"),
    [
        ("webhook_deliveries_status_check", {"status": "'lost'"}),
        ("webhook_deliveries_delivered_at_check", {"status": "'delivered'"}),
        ("webhook_deliveries_delivered_at_check", {"delivered_at": "now()"}),
        ("webhook_deliveries_lease_until_check", {"status": "'sending'"}),
        ("webhook_deliveries_lease_until_check", {"lease_until": "now()"}),
    ],
)
async def test_a_delivery_that_makes_no_sense_is_refused(store: Store, constraint: str, values: dict[str, str]) -> None:
    event, tenant = ids.new_id(), ids.new_id()
    named = {"id": f"'{event}'", "tenant_id": f"'{tenant}'"}
    await insert(store, "webhook_events", named | {"type": "'job.succeeded'", "payload": "'{}'"})
    sound = {"id": f"'{ids.new_id()}'", "event_id": f"'{event}'", "tenant_id": f"'{tenant}'", "url": "'https://a.test'"}
    with pytest.raises(IntegrityError, match=constraint):
        await insert(store, "webhook_deliveries", sound | values)


async def test_an_attempt_is_recorded_once_per_lease(store: Store) -> None:
    named = {"job_id": f"'{ids.new_id()}'", "tenant_id": f"'{ids.new_id()}'", "process_id": f"'{ids.new_id()}'"}
    attempt = named | {"lease_no": "1", "number": "1", "started_at": "now()", "outcome": "'lost'"}
    await insert(store, "attempts", attempt)
    with pytest.raises(IntegrityError, match="pkey"):
        await insert(store, "attempts", attempt)
    with pytest.raises(IntegrityError, match="attempts_outcome_check"):
        await insert(store, "attempts", attempt | {"lease_no": "2", "outcome": "'vanished'"})
