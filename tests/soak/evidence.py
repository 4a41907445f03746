"""What is left when everything is calm: tables, the clients' journal, the receiver's log."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Final

import orjson
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncEngine

from core.store.entering import FLIGHT
from tests.integration.webhooks.receivers import Received
from tests.soak.journal import Journal

_QUERIES: Final[Mapping[str, str]] = {
    "jobs": "SELECT id, tenant_id, status, stream, body, result, attempts, max_attempts, lease_no, event_seq, group_id, "
    "metadata, usage, cost_usd, error, expires_at, finished_at, cache ->> 'status' AS cache, webhook IS NOT NULL AS own_url "
    "FROM jobs ORDER BY id",
    "attempts": "SELECT job_id, lease_no, outcome, started_at FROM attempts ORDER BY job_id, lease_no",
    "events": "SELECT job_id, seq, last_seq, type, data FROM job_events ORDER BY job_id, seq",
    "groups": "SELECT id, total, remaining, finished_at FROM groups",
    "places": " UNION ALL ".join(
        f"SELECT job_id, '{table}' AS place FROM {table}" for table in ("ready", "waiting", "held_back", "running")
    ),
    "flights": f"SELECT tenant_id, key FROM concurrency_keys WHERE key LIKE '{FLIGHT}%'",
    "standing": "SELECT t.name, s.* FROM tenants t CROSS JOIN LATERAL standing(t.id, NULL, 1000) s",
    "usage": "SELECT coalesce(sum(jobs), 0) AS jobs, coalesce(sum(failed), 0) AS failed, "
    "coalesce(sum(input_tokens), 0) AS input_tokens, coalesce(sum(output_tokens), 0) AS output_tokens, "
    "coalesce(sum(cost_usd), 0) AS cost_usd FROM usage_days",
    "keys": "SELECT key, object_id FROM idempotency_keys",
    "deliveries": "SELECT d.id, d.status, d.url, e.id AS event_id, e.type, e.job_id, e.group_id FROM webhook_deliveries d "
    "JOIN webhook_events e ON e.id = d.event_id",
}
_JSON: Final = frozenset({"body", "result", "metadata", "usage", "error", "data"})
Rows = list[SimpleNamespace]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the checker looks at: tables as they are after the calm, the clients' journal, the receiver's log."""

    tables: Mapping[str, Rows]
    journal: Journal
    received: list[Received]

    @classmethod
    async def gather(cls, owner: AsyncEngine, journal: Journal, received: Sequence[Received]) -> "Evidence":
        """Read the tables, all in one snapshot."""
        async with owner.connect() as connection:
            await connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
            tables = {
                name: [_plain(row) for row in await connection.execute(text(query))] for name, query in _QUERIES.items()
            }
        return cls(tables, journal, list(received))

    def by_job(self, table: str) -> Mapping[Any, list[SimpleNamespace]]:
        """The rows of a table by their job."""
        sorted_out: defaultdict[Any, list[SimpleNamespace]] = defaultdict(list)
        for row in self.tables[table]:
            sorted_out[row.job_id].append(row)
        return sorted_out


def _plain(row: Row[Any]) -> SimpleNamespace:
    """A row with its JSON read: statements without types leave it as text."""
    return SimpleNamespace(
        **{
            name: orjson.loads(value) if name in _JSON and isinstance(value, str) else value
            for name, value in row._mapping.items()
        }
    )
