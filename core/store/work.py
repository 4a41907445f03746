"""Moves that workers make: claim, finish, send back, lose, let in, expire. One function and one statement for each."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from core.direct import Row
from core.lifecycle import Status
from core.store.cached import share
from core.store.endings import Ended, end
from core.store.entering import let_in
from core.store.statements import fetch, statement


@dataclass(slots=True, frozen=True)
class Room:
    """What a claim may take: jobs in all, bytes of bodies in all, jobs of each model; and whose turn it is not."""

    most: int
    body_bytes: int
    models: Mapping[str, int]
    full_tenants: frozenset[UUID] = frozenset()


@dataclass(slots=True)
class Finish:
    """An attempt that ended its job. JSON fields are text; ``last_seq`` is the number of the last event it told.

    ``error`` is the job's, ``attempt_error`` the attempt's own where it differs. ``model`` is the model that served it, where it
    is not the one of the queue: the books of the day count under it. ``plain`` says that the job is in no group and has no
    webhook URL of its own: most end with one statement.
    """

    id: UUID
    lease_no: int
    status: str
    last_seq: int
    result: str | None = None
    error: str | None = None
    usage: str | None = None
    cost_usd: Decimal | None = None
    route: str | None = None
    cache: str | None = None
    timing: str | None = None
    deployment: str | None = None
    ttft_ms: float | None = None
    batch_size: int | None = None
    attempt_error: str | None = None
    model: str | None = None
    plain: bool = False


@dataclass(slots=True)
class Requeue:
    """A running job that goes back to the queue.

    Attributes:
        outcome: ``retried`` or ``handed_back`` (the attempt is not counted: the worker stops, or no deployment was to be had).
        last_seq: the number of the last event that the attempt told.
        delay_s: seconds until it may start again.
        reset: deltas may have been shown that the next attempt will tell again.
        route_model: the model whose queue it joins, where it is another than before.
    """

    id: UUID
    lease_no: int
    outcome: str
    reason: str
    last_seq: int
    delay_s: float = 0.0
    reset: bool = False
    error: str | None = None
    deployment: str | None = None
    ttft_ms: float | None = None
    batch_size: int | None = None
    route_model: str | None = None


@dataclass(slots=True)
class DeltaChunk:
    """Consecutive deltas of one attempt (``data`` is a JSON array), or a reset between them."""

    id: UUID
    lease_no: int
    seq: int
    last_seq: int
    data: str
    type: str = "job.delta"


@dataclass(slots=True)
class Committed:
    """What a commit of outcomes did; an id in neither list lost its lease, and its outcome was dropped.

    ``lanes`` got work: jobs that went back at once, and jobs that their concurrency key had held back. ``coalesced`` are other
    jobs that waited for the same answers, and ended with them.
    """

    finished: list[UUID] = field(default_factory=list)
    coalesced: list[UUID] = field(default_factory=list)
    requeued: list[UUID] = field(default_factory=list)
    deliveries: int = 0
    lanes: set[str] = field(default_factory=set)


_FINISH: Final = tuple(name for name in Finish.__dataclass_fields__ if name != "plain")
_REQUEUE: Final = tuple(Requeue.__dataclass_fields__)
_CHUNK: Final = tuple(DeltaChunk.__dataclass_fields__)


def _columns(names: Sequence[str], rows: Sequence[Any]) -> dict[str, list[Any]]:
    return {name: [getattr(row, name) for row in rows] for name in names}


async def claim(
    engine: AsyncEngine, lane: str, process_id: UUID, room: Room, deployments: Mapping[str, str] | None = None
) -> list[Row]:
    """Claim the next jobs of ``lane`` for a process, as far as there is ``room``.

    ``deployments`` names what will serve each model, for the books of attempts that never end.
    """
    if room.most < 1 or not any(slots > 0 for slots in room.models.values()):
        return []
    name, parameters = claiming(lane, process_id, room, deployments)
    return await fetch(engine, name, parameters)


def claiming(
    lane: str, process_id: UUID, room: Room, deployments: Mapping[str, str] | None = None
) -> tuple[str, dict[str, Any]]:
    """Return the name of the statement that claims, and its parameters."""
    models = {model: slots for model, slots in room.models.items() if slots > 0}
    parameters: dict[str, Any] = {
        "lane": lane,
        "process_id": process_id,
        "most": room.most,
        "bytes": room.body_bytes,
        "model": list(models),
        "room": [min(slots, room.most) for slots in models.values()],
        "deployment": [(deployments or {}).get(model) for model in models],
    }
    if not room.full_tenants:
        return "claim", parameters
    return "claim_beside", parameters | {"full": list(room.full_tenants)}


async def commit_outcomes(
    engine: AsyncEngine,
    process_id: UUID,
    finishes: Sequence[Finish],
    requeues: Sequence[Requeue],
    chunks: Sequence[DeltaChunk],
    public_url: str,
) -> Committed:
    """Store the outcomes of many attempts: the plain ones in one statement, the others in one transaction."""
    committed = Committed()
    if not chunks and any(finish.plain for finish in finishes):
        committed.finished = await _finish_plain(engine, process_id, [finish for finish in finishes if finish.plain])
        done = set(committed.finished)
        finishes = [finish for finish in finishes if finish.id not in done]
    if not (finishes or requeues or chunks):
        return committed
    async with engine.begin() as connection:
        await _store_chunks(connection, chunks)
        if finishes and requeues:
            await connection.execute(statement("lock_leases"), _columns(("id", "lease_no"), [*finishes, *requeues]))
        gone: list[Any] = []
        back: list[Any] = []
        if finishes:
            gone += await connection.execute(statement("finish"), _finishing(process_id, finishes, plain=False))
            committed.finished += [row.id for row in gone]
            followers = await share(connection, gone)
            committed.coalesced = [row.id for row in followers]
            gone += followers
            ended = await end(connection, gone, public_url)
            committed.deliveries = ended.deliveries
        if requeues:
            ordered = sorted(requeues, key=lambda outcome: outcome.id)
            parameters = _columns(_REQUEUE, ordered) | {"process_id": process_id}
            back += await connection.execute(statement("requeue"), parameters)
            committed.requeued = [row.id for row in back]
        waits = [row for row in back if not row.enters]
        committed.lanes.update(await let_in(connection, [row for row in back if row.enters], left=[*gone, *waits]))
    return committed


async def _finish_plain(engine: AsyncEngine, process_id: UUID, finishes: Sequence[Finish]) -> list[UUID]:
    return [row.id for row in await fetch(engine, "finish", _finishing(process_id, finishes, plain=True))]


def _finishing(process_id: UUID, finishes: Sequence[Finish], *, plain: bool) -> dict[str, Any]:
    ordered = sorted(finishes, key=lambda outcome: outcome.id)
    return _columns(_FINISH, ordered) | {"process_id": process_id, "plain": plain}


async def store_deltas(engine: AsyncEngine, chunks: Sequence[DeltaChunk]) -> None:
    """Store chunks of streamed deltas of running jobs."""
    await fetch(engine, "store_deltas", _columns(_CHUNK, chunks))


async def _store_chunks(connection: AsyncConnection, chunks: Sequence[DeltaChunk]) -> None:
    if chunks:
        await connection.execute(statement("store_deltas"), _columns(_CHUNK, chunks))


async def abandon(engine: AsyncEngine, process_id: UUID, leases: Mapping[UUID, int]) -> None:
    """Give up leases that this process holds by the database's books and not by its own."""
    ordered = sorted(leases.items())
    parameters = {
        "process_id": process_id,
        "id": [job for job, _ in ordered],
        "lease_no": [lease for _, lease in ordered],
    }
    await fetch(engine, "abandon", parameters)


async def lose_orphans(engine: AsyncEngine, public_url: str, most: int = 500) -> tuple[Ended, set[str], int]:
    """Take jobs from dead processes; return those that ended, the lanes that got work, and how many were taken."""
    async with engine.begin() as connection:
        rows = (await connection.execute(statement("lose"), {"most": most})).all()
        ended = await end(connection, rows, public_url)
        back = [row for row in rows if row.status == Status.QUEUED]
        lanes = await let_in(connection, back, left=[row for row in rows if row.status != Status.QUEUED])
        return ended, set(lanes), len(rows)


async def expire_late(engine: AsyncEngine, public_url: str, most: int = 500) -> Ended:
    """End jobs that did not start in time."""
    async with engine.begin() as connection:
        rows = (await connection.execute(statement("expire"), {"most": most})).all()
        ended = await end(connection, rows, public_url)
        ended.lanes.update(await let_in(connection, left=rows))
        return ended


async def let_in_due(engine: AsyncEngine, most: int = 1000) -> dict[str, int]:
    """Let jobs in whose time has come, or have them held back by their concurrency keys; return how many of each lane."""
    async with engine.begin() as connection:
        rows = (await connection.execute(statement("due"), {"most": most})).all()
        await let_in(connection, rows)
        return Counter(row.lane for row in rows)


@dataclass(slots=True, frozen=True)
class Glance:
    """What a sweep would find; ``due_in_s`` is when the next waiting job may start, None when none waits."""

    due_in_s: float | None
    late: bool
    lost: bool
    deliveries: bool
    workers: int
    lanes: Mapping[str, frozenset[str]]


async def glance(engine: AsyncEngine, lanes: Sequence[str]) -> Glance:
    """Look whether a sweep has anything to do, and which of ``lanes`` hold ready jobs of which models."""
    [row] = await fetch(engine, "glance", {})
    models: dict[str, set[str]] = {}
    for lane, model in zip(row.lanes, row.models, strict=True):
        if lane in lanes:
            models.setdefault(lane, set()).add(model)
    return Glance(
        row.due_in_s,
        row.late,
        row.lost,
        row.deliveries,
        row.workers,
        {lane: frozenset(names) for lane, names in models.items()},
    )
