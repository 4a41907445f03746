"""The engine: everything a worker process does besides listening for doorbells.

It lives on a thread of its own with one event loop. Celery's threads hand it doorbells; it claims, runs, finishes. Without
a broker it goes on by its sweep. Stopping means: claim no more, let what runs finish within the grace period, hand back the rest.
"""

import asyncio
import os
import random
import signal
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any
from uuid import UUID

import structlog
import uvloop
from sqlalchemy import Row

from core.announce import Announcer, end_tasks, open_redis
from core.cache import Cache
from core.catalog import LiveCatalog
from core.database import connect
from core.dispatch import Doorbell, publisher
from core.limits import Accounts, Gate
from core.presence import Presence
from core.settings import JOB_LANES, CacheSettings, Settings, WebhookSettings, WorkerSettings
from core.store.failures import DATABASE_ERRORS
from core.store.standing import read_bases, read_limits
from core.store.work import Room, abandon, claim
from policies.catalog import Catalog
from policies.giving_way import spare
from workers.engine.admission import Admission
from workers.engine.attempt import Attempts
from workers.engine.caching import Caching
from workers.engine.claims import ClaimReport, LaneClaimer
from workers.engine.deltas import DeltaWriter
from workers.engine.finisher import Finisher
from workers.engine.flight import PREWARM, Flight
from workers.engine.heartbeat import Heartbeat
from workers.engine.job import Job
from workers.engine.lanes import LaneClasses
from workers.engine.news import listen_for_news
from workers.engine.plane import ModelPlane
from workers.engine.slots import Slots
from workers.engine.sweep import Sweep
from workers.maintenance import Maintenance
from workers.schedules.clock import ScheduleClock
from workers.schedules.freshness import CacheFreshness
from workers.schedules.warmth import WarmthKeeper
from workers.upstream_batches import UpstreamBatches
from workers.webhooks.claimer import WebhookClaimer

_log = structlog.get_logger(__name__)
_CLOSE_S = 2.0
_LOOKING = 3


class Engine:
    """One per worker process."""

    def __init__(self, settings: Settings, worker: WorkerSettings, webhooks: WebhookSettings) -> None:
        self._settings = settings
        self._worker = worker
        self._webhooks = webhooks
        self._live_catalog = LiveCatalog(settings.catalog, settings.simulator_url)
        self.lanes = tuple(lane for lane in worker.lanes if lane in JOB_LANES)
        self.presence = Presence("worker", worker.lanes, worker.lease_s)
        self._workers = 1
        self._waited_for: frozenset[str] = frozenset()
        self._stopping = False
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._main, name="engine", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def catalog(self) -> Catalog:
        """The catalog in force."""
        return self._live_catalog.current

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
        if self._loop is not None and self._thread.is_alive():
            with suppress(RuntimeError):  # its loop has just ended
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
        except BaseException as error:  # noqa: BLE001 - start() raises it where Celery sees it
            self._failure = error
            _log.exception("engine_failed")
        finally:
            self._ready.set()

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop_event = asyncio.Event()
        self._assemble()
        background = await self._open()
        _log.info("engine_started", lanes=",".join(self._worker.lanes), process_id=str(self.presence.id))
        self._ready.set()
        for lane in (*self.lanes, "webhooks"):
            self._wake(lane)
        await self._stop_event.wait()
        await self._drain()
        await self._close(background)
        _log.info("engine_stopped")

    def _assemble(self) -> None:
        worker, settings = self._worker, self._settings
        self._engine = connect(settings, "coatcheck_worker", pool_size=worker.database_pool, name="coatcheck-worker")
        self._redis = open_redis(settings.redis_url, settings.redis_timeout_s)
        self._announcer = Announcer(self._redis)
        self._cache = Cache(self._redis, CacheSettings())
        self._deltas = DeltaWriter(self._engine, worker.delta_flush_ms / 1000)
        self._doorbell = Doorbell(publisher(settings))
        self._slots = Slots(
            self.lanes, most=worker.max_in_flight, reserved=worker.reserved_slots, body_bytes=worker.max_body_bytes_in_flight,
            claim_limit=worker.claim_limit,
        )  # fmt: skip
        self._finisher = Finisher(
            self._engine, self.presence.id, settings.public_url, most=worker.finish_max_jobs, announcer=self._announcer,
            done=lambda outcomes: self._flight.settle(outcomes),  # noqa: PLW0108 - made below
            work=self._has_work,
        )  # fmt: skip
        self._plane = ModelPlane(self._live_catalog, self._redis, self.presence.id, lambda: self._workers, self._freed)
        self._router = self._plane.router
        self._classes = LaneClasses(self._slots, lambda: self.catalog.lane_targets)
        accounts = Accounts(self._redis, partial(read_bases, self._engine), lambda: self._workers)
        self._admission = Admission(Gate(accounts, partial(read_limits, self._engine)), lambda: self.catalog)
        self._flight = Flight(
            self._slots, Attempts(self._router, self._plane.providers), self._admission, self._deltas, self._announcer,
            submit=self._finisher.submit, freed=self._freed, ended=self._classes.ended,
            caching=Caching(self._cache),
        )  # fmt: skip
        self._batches = self._upstream_batches() if "bulk" in self.lanes else None
        self._claimers = {lane: self._claimer(lane) for lane in self.lanes}
        self._hooks = (
            WebhookClaimer(self._engine, self.presence.id, settings, self._webhooks)
            if "webhooks" in worker.lanes
            else None
        )
        self._maintenance = Maintenance(self._engine, settings) if "maintenance" in worker.lanes else None
        self._schedules = ScheduleClock(
            self._engine, lambda: self.catalog, settings.public_url, work=self._has_work,
            freshness=CacheFreshness(self._cache),
        )  # fmt: skip
        self._warmth = WarmthKeeper(self._engine, lambda: self.catalog, self._plane.warm)
        self._sweep = Sweep(
            self._engine, settings.public_url, worker.sweep_s, self.lanes, self._announcer,
            found=self._found, wake=self._wake, ring=self._doorbell.ring,
        )  # fmt: skip
        self._heartbeat = Heartbeat(
            settings, self.presence, worker.heartbeat_s, held=lambda: self._flight.leases, gone=self._leases_gone,
            stray=self._leases_strayed, silent=self._lease_ran_out, health=self._health,
        )  # fmt: skip

    def _upstream_batches(self) -> UpstreamBatches:
        return UpstreamBatches(
            self._engine, self.presence.id, self._settings, self._worker, catalog=lambda: self.catalog,
            announcer=self._announcer, start=lambda row: self._flight.begin(Job.of(row, 1)), work=self._has_work,
        )  # fmt: skip

    def _room_beside_batches(self) -> dict[str, int]:
        """Return the free slots of the models whose bulk jobs are not left to a Batch API."""
        left_out = self._batches.models if self._batches is not None else frozenset()
        return {model: room for model, room in self._router.room().items() if model not in left_out}

    def _room_to_spare(self) -> dict[str, int]:
        """Return the slots that the lane which gives way may take."""
        return spare(self._router.room(), self._flight.prewarming, self._waited_for)

    def _claimer(self, lane: str) -> LaneClaimer:
        free = {"bulk": self._room_beside_batches, PREWARM: self._room_to_spare}.get(lane, self._router.room)
        return LaneClaimer(
            lane, self._slots, free=free, short=self._router.short_of, again=self._wake, claim=self._claim_rows,
            start=self._flight.begin, ring=self._doorbell.ring,
        )  # fmt: skip

    async def _open(self) -> list[asyncio.Task[None]]:
        for part in (self._announcer, self._deltas, self._finisher, self._doorbell, self._heartbeat):
            part.start()
        await self._plane.open()
        await asyncio.to_thread(self._heartbeat.first.wait, self._settings.database_connect_timeout_s)
        background = {f"claim-{lane}": claimer.run() for lane, claimer in self._claimers.items()}
        background["sweep"] = self._sweep.run()
        background["lane-classes"] = self._classes.run()
        background |= self._plane.parts()
        if self._batches is not None:
            background["upstream-batches"] = self._batches.run()
        background["news"] = listen_for_news(self._redis, self._flight.abort, self._hint)
        if self._hooks is not None:
            background["webhooks"] = self._hooks.run()
        if self._maintenance is not None:
            background["maintenance"] = self._maintenance.run()
            background["schedules"] = self._schedules.run()
        background["keep-warm"] = self._warmth.run()
        tasks = [asyncio.create_task(work, name=name) for name, work in background.items()]
        for task in tasks:
            task.add_done_callback(self._part_ended)
        return tasks

    async def _close(self, background: list[asyncio.Task[None]]) -> None:
        await end_tasks(background)
        for part in (self._deltas, self._finisher, self._announcer):
            await part.stop()
        await self._plane.close()
        await self._admission.close()
        await self._cache.close()
        await asyncio.to_thread(self._heartbeat.stop)
        await asyncio.to_thread(self._doorbell.stop)
        await self._redis.aclose()
        with suppress(TimeoutError):
            # A database that has stopped answering must not keep the process from ending.
            async with asyncio.timeout(_CLOSE_S):
                await self._engine.dispose()

    def _part_ended(self, task: asyncio.Task[None]) -> None:
        """A part that breaks would be a worker that looks alive and does nothing: better to stop and be started anew."""
        if not task.cancelled() and not self._stop_event.is_set():
            _log.critical("engine_part_broke", part=task.get_name(), exc_info=task.exception())
            os.kill(os.getpid(), signal.SIGTERM)

    async def _claim(self, lane: str) -> ClaimReport:
        if lane in self._claimers:
            return await self._claimers[lane].claim_now()
        self._wake(lane)
        return ClaimReport(lane, 0, note="woken")

    async def _claim_rows(self, lane: str, room: Room) -> Sequence[Row[Any]]:
        if not self._heartbeat.valid:
            # Claims under a lease that may have run out would be taken away again at once.
            return []
        return await claim(self._engine, lane, self.presence.id, room, self._router.served)

    def _hint(self, lane: str) -> None:
        """Follow a hint that reached every worker: with many of them only a few look, as all but one look in vain."""
        if lane in self._claimers and random.random() < _LOOKING / max(1, self._workers):
            self._claimers[lane].wake()

    def _found(self, lanes: Mapping[str, frozenset[str]], workers: int) -> None:
        self._workers = workers
        self._router.waiting(frozenset().union(*lanes.values()))
        self._waited_for = frozenset().union(*(models for lane, models in lanes.items() if lane != PREWARM))
        for lane in lanes:
            self._claimers[lane].wake(insist=True)

    def _wake(self, lane: str) -> None:
        if lane in self._claimers:
            self._claimers[lane].wake()
        elif lane == "webhooks" and self._hooks is not None:
            self._hooks.wake()
        elif lane == "maintenance" and self._maintenance is not None:
            self._maintenance.wake()
            self._schedules.wake()
        elif lane == "schedules":
            self._schedules.wake()

    def _has_work(self, lane: str) -> None:
        """A commit of ours gave a lane work: here if we serve it, elsewhere by doorbell."""
        if self._hooks is not None if lane == "webhooks" else lane in self._claimers and not self._stopping:
            self._wake(lane)
        else:
            self._doorbell.ring(lane)

    def _freed(self) -> None:
        for claimer in self._claimers.values():
            claimer.slot_freed()

    def _leases_gone(self, lost: dict[UUID, int]) -> None:
        assert self._loop is not None  # noqa: S101 - the heartbeat starts on the loop
        self._loop.call_soon_threadsafe(self._flight.abort, list(lost), lost)

    def _leases_strayed(self, strays: dict[UUID, int]) -> None:
        assert self._loop is not None  # noqa: S101 - the heartbeat starts on the loop
        asyncio.run_coroutine_threadsafe(self._abandon(strays), self._loop)

    async def _abandon(self, strays: dict[UUID, int]) -> None:
        _log.warning("stray_leases", jobs=len(strays))
        with suppress(*DATABASE_ERRORS):
            await abandon(self._engine, self.presence.id, strays)

    def _lease_ran_out(self) -> None:
        assert self._loop is not None  # noqa: S101 - the heartbeat starts on the loop
        self._loop.call_soon_threadsafe(self._flight.abort_all)

    def _health(self) -> dict[str, object]:
        self._plane.count_connections()
        return {
            "in_flight": self._slots.in_flight,
            "doorbell": self._doorbell.up,
            "deployments": self._router.report(),
        }

    def _pause(self) -> None:
        for claimer in self._claimers.values():
            claimer.paused = True
        if self._batches is not None:
            self._batches.paused = True

    async def _drain(self) -> None:
        await asyncio.gather(*(claimer.settle() for claimer in self._claimers.values()))
        grace = self._worker.grace_s
        await self._flight.land(grace)
        if self._hooks is not None:
            await self._hooks.drain(min(grace, self._webhooks.timeout_s))
