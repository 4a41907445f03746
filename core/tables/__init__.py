"""The tables, as the code sees them. Migrations build them; a test compares the two.

Each subject has a file. Import tables from here: then the metadata knows all of them.
"""

from core.tables.caches import cache_hours, semantic_shadow
from core.tables.columns import metadata
from core.tables.jobs import attempts, groups, idempotency_keys, job_events, jobs
from core.tables.processes import processes
from core.tables.queue import concurrency_keys, held_back, lane_clocks, ready, running, tenant_turns, waiting
from core.tables.schedules import schedule_runs, schedules
from core.tables.tenants import api_keys, tenants
from core.tables.upstream_batches import upstream_batches
from core.tables.usage import usage_days
from core.tables.webhooks import webhook_deliveries, webhook_endpoints, webhook_events

__all__ = [
    "api_keys",
    "attempts",
    "cache_hours",
    "concurrency_keys",
    "groups",
    "held_back",
    "idempotency_keys",
    "job_events",
    "jobs",
    "lane_clocks",
    "metadata",
    "processes",
    "ready",
    "running",
    "schedule_runs",
    "schedules",
    "semantic_shadow",
    "tenant_turns",
    "tenants",
    "upstream_batches",
    "usage_days",
    "waiting",
    "webhook_deliveries",
    "webhook_endpoints",
    "webhook_events",
]
