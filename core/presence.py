"""Processes that are alive: each renews its own row by the database's clock, and shows its metrics and health there."""

import os
import socket
from dataclasses import dataclass, field
from uuid import UUID

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from core import ids
from core.store.statements import fetch

_LEAVE = text("DELETE FROM processes WHERE id = :id AND NOT EXISTS (SELECT FROM running WHERE process_id = :id)")
_ALIVE = text("SELECT id, kind, host, pid, lanes, metrics, health FROM processes WHERE lease_until > now() ORDER BY id")
_BURY = text("DELETE FROM processes WHERE lease_until < now() - interval '10 minutes'")


@dataclass(slots=True)
class Presence:
    """Who this process is to the others."""

    kind: str
    lanes: tuple[str, ...]
    lease_s: float
    id: UUID = field(default_factory=ids.new_id)

    async def renew(self, engine: AsyncEngine, metrics: str | None, health: dict[str, object]) -> dict[UUID, int]:
        """Renew the lease; return the jobs held by this process with their lease numbers, as the database sees them."""
        parameters = {
            "id": self.id,
            "kind": self.kind,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "lanes": list(self.lanes),
            "lease_s": self.lease_s,
            "metrics": metrics,
            "health": orjson.dumps(health).decode(),
        }
        return {row.job_id: row.lease_no for row in await fetch(engine, "heartbeat", parameters)}

    async def leave(self, engine: AsyncEngine) -> None:
        """Say goodbye; jobs still held keep the row until its lease runs out."""
        async with engine.begin() as connection:
            await connection.execute(_LEAVE, {"id": self.id})


@dataclass(slots=True, frozen=True)
class Alive:
    """A process whose lease is valid."""

    id: UUID
    kind: str
    host: str
    pid: int
    lanes: tuple[str, ...]
    metrics: str | None
    health: dict[str, object]


async def alive(engine: AsyncEngine) -> list[Alive]:
    """Return all processes whose lease is valid."""
    async with engine.connect() as connection:
        rows = await connection.execute(_ALIVE)
        return [
            Alive(row.id, row.kind, row.host, row.pid, tuple(row.lanes), row.metrics, orjson.loads(row.health or "{}"))
            for row in rows
        ]


async def bury_dead(engine: AsyncEngine) -> None:
    """Forget processes that have been silent for ten minutes."""
    async with engine.begin() as connection:
        await connection.execute(_BURY)
