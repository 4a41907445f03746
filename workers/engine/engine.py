"""The engine: everything a worker process does besides listening for doorbells.

It lives on a thread of its own with one event loop. Celery's threads hand it doorbells; it claims, runs, finishes. Without a broker
it goes on by its sweep. Stopping means: claim no more, let what runs finish within the grace period, hand back the rest.
"""

import asyncio
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

import structlog
import uvloop
from sqlalchemy import Row

from core.announce import Announcer, open_redis
from core.catalog import load
from core.database import connect
from core.dispatch import Doorbell, publisher
from core.presence import Presence
from core.settings import JOB_LANES, Settings, WebhookSettings, WorkerSettings
from core.store.failures import DATABASE_ERRORS
from core.store.work import Requeue, Room, claim, commit_outcomes
from core.telemetry.metrics import IN_FLIGHT
from policies.catalog import Catalog
from workers.engine.attempt import Attempts
from workers.engine.cancels import listen_for_cancels
from workers.engine.claims import ClaimReport, LaneClaimer
from workers.engine.deltas import DeltaStream, DeltaWriter
from workers.engine.finisher import Finisher, Outcome
from workers.engine.heartbeat import Heartbeat
from workers.engine.job import Job
from workers.engine.slots import Slots
from workers.engine.sweep import Sweep
from workers.maintenance import Maintenance
from workers.providers import open_providers
from workers.webhooks.claimer import WebhookClaimer

_log = structlog.get_logger(__name__)


class Engine:
    """One per worker process."""

    def __init__(self, settings: Settings, worker: WorkerSettings, webhooks: WebhookSettings) -> None:
        self._settings = settings
        self._worker = worker
        self._webhooks = webhooks
        self.catalog: Catalog = load(settings.catalog, settings.simulator_url)
        self.lanes = tuple(lane for lane in worker.lanes if lane in JOB_LANES)
        self.presence = Presence("worker", worker.lanes, worker.lease_s)
        self._running: dict[UUID, tuple[Job, asyncio.Task[None], DeltaStream]] = {}
        self._leases: dict[UUID, int] = {}
        self._stopping = False
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._main, name="engine", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None

    # --- from Celery's threads ---

    def start(self) -> None:
        """Start the engine's thread and wait until it can claim (or until the database is known to be away).

        Raises:
            Exception: whatever kept the engine from starting.
        """
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise self._failure

    def claim(self, lane: str) -> dict[str, Any]:
        """Claim the ready jobs of ``lane`` now; return what was claimed. Called by the doorbell's task."""
        if self._loop is None or self._stopping:
            return ClaimReport(lane, 0, note="stopping").as_dict()
        return asyncio.run_coroutine_threadsafe(self._claim(lane), self._loop).result(timeout=60).as_dict()

    def stop_claiming(self) -> None:
        """Claim nothing more; what runs goes on."""
        self._stopping = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._pause)

    def stop(self) -> None:
        """Finish what can finish within the grace period, hand back the rest, and end the thread."""
        self.stop_claiming()
        if self._loop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop_event.set)
            self._thread.join()

    # --- on the engine's loop ---

    def _main(self) -> None:
        try:
            uvloop.run(self._run())
        except BaseException as error:
            self._failure = error
            _log.exception("engine_failed")
        finally:
            self._ready.set()

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop_event = asyncio.Event()
        worker, settings = self._worker, self._settings
        engine = self._engine = connect(settings, "coatcheck_worker", pool_size=worker.database_pool, name="coatcheck-worker")
        redis = open_redis(settings.redis_url, settings.redis_timeout_s)
        providers = open_providers()
        self._announcer = Announcer(redis)
        self._deltas = DeltaWriter(engine, worker.delta_flush_ms / 1000)
        self._attempts = Attempts(lambda: self.catalog, providers)
        self._doorbell = Doorbell(publisher(settings))
        self._slots = Slots(
            self.lanes, most=worker.max_in_flight, reserved=worker.reserved_slots, body_bytes=worker.max_body_bytes_in_flight,
            claim_limit=worker.claim_limit,
        )  # fmt: skip
        self._finisher = Finisher(
            engine, self.presence.id, settings.public_url, most=worker.finish_max_jobs, announcer=self._announcer,
            done=self._settled, pushed=self._pushed,
        )  # fmt: skip
        self._claimers = {
            lane: LaneClaimer(
                lane, self._slots, limits=self._limits, claim=self._claim_rows, start=self._begin, ring=self._doorbell.ring
            )
            for lane in self.lanes
        }
        self._hooks = (
            WebhookClaimer(engine, self.presence.id, settings, self._webhooks) if "webhooks" in worker.lanes else None
        )
        self._maintenance = Maintenance(engine, settings) if "maintenance" in worker.lanes else None
        self._heartbeat = Heartbeat(
            settings, self.presence, worker.heartbeat_s, held=lambda: self._leases, gone=self._leases_gone,
            stray=self._leases_strayed, silent=self._lease_ran_out, health=self._health,
        )  # fmt: skip
        sweep = Sweep(
            engine, settings.public_url, worker.sweep_s, self.lanes, self._announcer, wake=self._wake, ring=self._doorbell.ring
        )
        self._announcer.start()
        self._deltas.start()
        self._finisher.start()
        self._doorbell.start()
        self._heartbeat.start()
        await asyncio.to_thread(self._heartbeat.first.wait, settings.database_connect_timeout_s)
        background = [
            *(asyncio.create_task(claimer.run(), name=f"claim-{lane}") for lane, claimer in self._claimers.items()),
            asyncio.create_task(sweep.run(), name="sweep"),
            asyncio.create_task(listen_for_cancels(redis, self._abort), name="cancels"),
        ]
        background += [asyncio.create_task(part.run(), name="part") for part in (self._hooks, self._maintenance) if part]
        _log.info("engine_started", lanes=",".join(worker.lanes), process_id=str(self.presence.id))
        self._ready.set()
        for lane in (*self.lanes, "webhooks"):
            self._wake(lane)
        await self._stop_event.wait()
        await self._drain()
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        await self._deltas.stop()
        await self._finisher.stop()
        await self._announcer.stop()
        for provider in providers.values():
            await provider.aclose()
        await asyncio.to_thread(self._heartbeat.stop)
        await asyncio.to_thread(self._doorbell.stop)
        await redis.aclose()
        await engine.dispose()
        _log.info("engine_stopped")

    async def _claim(self, lane: str) -> ClaimReport:
        if lane in self._claimers:
            return await self._claimers[lane].claim_now()
        self._wake(lane)
        return ClaimReport(lane, 0, note="woken")

    async def _claim_rows(self, lane: str, room: Room) -> Sequence[Row[Any]]:
        if not self._heartbeat.valid:
            # Claims under a lease that may have run out would be taken away again at once.
            return []
        return await claim(self._engine, lane, self.presence.id, room)

    def _limits(self) -> Mapping[str, int]:
        return {deployment.model: deployment.max_concurrency for deployment in self.catalog.deployments}

    def _wake(self, lane: str) -> None:
        if lane in self._claimers:
            self._claimers[lane].wake()
        elif lane == "webhooks" and self._hooks is not None:
            self._hooks.wake()
        elif lane == "maintenance" and self._maintenance is not None:
            self._maintenance.wake()

    def _pushed(self) -> None:
        """Webhooks are due: here if we send them, elsewhere by doorbell."""
        if self._hooks is not None:
            self._hooks.wake()
        else:
            self._doorbell.ring("webhooks")

    def _begin(self, job: Job) -> None:
        self._slots.take(job.lane, job.model, job.tenant_id, job.body_bytes)
        IN_FLIGHT.labels(job.lane).inc()
        stream = DeltaStream(job, self._announcer, self._deltas.note)
        task = asyncio.create_task(self._attempt(job, stream))
        self._running[job.id] = (job, task, stream)
        self._leases[job.id] = job.lease_no
        if job.stream:
            self._announcer.moved([job.id])

    async def _attempt(self, job: Job, stream: DeltaStream) -> None:
        try:
            move = await self._attempts.run(job, stream)
        except asyncio.CancelledError:
            # Cancelled, lease gone, or handed back: whoever cancelled the task has settled the job, or settles it now.
            chunk = await self._deltas.settle(stream) if stream.streamed else None
            if self._handing_back(job):
                move = Requeue(
                    job.id, job.lease_no, "handed_back", "worker_stopping", stream.last_seq, reset=stream.streamed,
                    batch_size=job.batch_size,
                )  # fmt: skip
                self._finisher.submit(Outcome(job, move, chunk))
            else:
                self._settled([Outcome(job, Requeue(job.id, job.lease_no, "handed_back", "", 0))])
            return
        chunk = await self._deltas.settle(stream) if stream.streamed else None
        self._finisher.submit(Outcome(job, move, chunk))

    def _handing_back(self, job: Job) -> bool:
        return self._stop_event.is_set() and self._leases.get(job.id) == job.lease_no

    def _settled(self, outcomes: Iterable[Outcome]) -> None:
        lanes = set()
        for outcome in outcomes:
            job = outcome.job
            self._slots.give_back(job.lane, job.model, job.tenant_id, job.body_bytes)
            IN_FLIGHT.labels(job.lane).dec()
            lanes.add(job.lane)
            current = self._running.get(job.id)
            # The same job may run here again by now, under a newer lease.
            if current is not None and current[0].lease_no == job.lease_no:
                del self._running[job.id]
                self._leases.pop(job.id, None)
        for claimer in self._claimers.values():
            claimer.slot_freed()

    def _abort(self, jobs: Iterable[UUID], leases: Mapping[UUID, int] | None = None) -> None:
        for job_id in jobs:
            current = self._running.get(job_id)
            if current is None or (leases is not None and current[0].lease_no != leases[job_id]):
                continue
            _log.info("attempt_aborted", job_id=str(job_id))
            self._leases.pop(job_id, None)
            # A task that is cancelled before its first step never gets to clean up after itself; by the next turn it has begun.
            asyncio.get_running_loop().call_soon(current[1].cancel)

    def _leases_gone(self, lost: dict[UUID, int]) -> None:
        assert self._loop is not None  # noqa: S101 - the heartbeat starts on the loop
        self._loop.call_soon_threadsafe(self._abort, list(lost), lost)

    def _leases_strayed(self, strays: dict[UUID, int]) -> None:
        assert self._loop is not None  # noqa: S101 - the heartbeat starts on the loop
        asyncio.run_coroutine_threadsafe(self._send_back(strays), self._loop)

    async def _send_back(self, strays: dict[UUID, int]) -> None:
        _log.warning("stray_leases", jobs=len(strays))
        moves = [Requeue(job, lease, "lost", "worker_lost", None, reset=True) for job, lease in strays.items()]
        with suppress(*DATABASE_ERRORS):
            await commit_outcomes(self._engine, self.presence.id, [], moves, [], self._settings.public_url)

    def _lease_ran_out(self) -> None:
        assert self._loop is not None  # noqa: S101 - the heartbeat starts on the loop
        self._loop.call_soon_threadsafe(lambda: self._abort(list(self._running)))

    def _health(self) -> dict[str, object]:
        return {"in_flight": self._slots.in_flight, "doorbell": self._doorbell.up}

    def _pause(self) -> None:
        for claimer in self._claimers.values():
            claimer.paused = True

    async def _drain(self) -> None:
        await asyncio.gather(*(claimer.settle() for claimer in self._claimers.values()))
        grace = self._worker.grace_s
        tasks = [task for _, task, _ in self._running.values()]
        if tasks:
            _log.info("draining", jobs=len(tasks), grace_s=grace)
            await asyncio.wait(tasks, timeout=grace)
        late = [task for _, task, _ in self._running.values() if not task.done()]
        for task in late:
            task.cancel()
        if late:
            _log.info("handing_back", jobs=len(late))
            await asyncio.wait(late, timeout=5)
        if self._hooks is not None:
            await self._hooks.drain(min(grace, self._webhooks.timeout_s))
        # Outcomes are on their way to the database; give a database that answers the time to take them.
        for _ in range(100):
            if not self._running:
                break
            await asyncio.sleep(0.05)
