"""What runs on the engine's event loop: the parts, how they are joined, and who of them is woken by what."""

import asyncio
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

import structlog

from core.announce import Announcer, end_tasks, open_redis
from core.cache import Cache, Semantic, Shadow
from core.catalog import LiveCatalog
from core.database import connect
from core.direct import Row
from core.dispatch import Doorbell, publisher
from core.limits import Accounts, Gate
from core.presence import Presence
from core.settings import JOB_LANES, CacheSettings, Settings, WebhookSettings, WorkerSettings
from core.store.standing import read_bases, read_limits
from core.store.work import Room, claim
from policies.catalog import Catalog
from workers.engine.admission import Admission
from workers.engine.attempt import Attempts
from workers.engine.batched import BatchDoors
from workers.engine.caching import Caching, Nearness
from workers.engine.claimers import Claimers
from workers.engine.claims import ClaimReport
from workers.engine.deltas import DeltaWriter
from workers.engine.duties import Duties
from workers.engine.embedder import Embedders
from workers.engine.finisher import Finisher
from workers.engine.flight import Flight
from workers.engine.forgotten import Forgotten
from workers.engine.heartbeat import Heartbeat
from workers.engine.job import Job
from workers.engine.lanes import LaneClasses
from workers.engine.leases import Leases
from workers.engine.news import listen_for_news
from workers.engine.plane import ModelPlane
from workers.engine.silence import Silence
from workers.engine.slots import Slots
from workers.engine.sweep import Sweep
from workers.maintenance import Maintenance
from workers.schedules.clock import ScheduleClock
from workers.schedules.freshness import CacheFreshness
from workers.schedules.warmth import WarmthKeeper
from workers.upstream_batches import UpstreamBatches
from workers.webhooks.claimer import WebhookClaimer

_log = structlog.get_logger(__name__)
# Longest wait for a database that has stopped answering, when its connections are closed.
_CLOSE_S: Final = 2.0


class EngineLoop:
    """The parts of one worker process; made and used on its event loop.

    Args:
        settings, worker, webhooks: the process's settings.
        live: the catalog that is followed.
        presence: who this process is to the others.
        stopping: tells whether nothing more is to be claimed.
    """

    def __init__(
        self,
        settings: Settings,
        worker: WorkerSettings,
        webhooks: WebhookSettings,
        live: LiveCatalog,
        presence: Presence,
        *,
        stopping: Callable[[], bool],
    ) -> None:
        self._settings = settings
        self._worker = worker
        self._webhooks = webhooks
        self._live_catalog = live
        self._presence = presence
        self._stopping = stopping
        self._stop_event = asyncio.Event()
        self._workers = 1
        self._lanes = tuple(lane for lane in worker.lanes if lane in JOB_LANES)
        self._connect()
        self._join_path()
        self._duties = self._take_duties()
        self._claimers = Claimers(
            self._lanes, self._slots, self.router, self._flight, batched=lambda: self._duties.batched,
            workers=lambda: self._workers, claim=self._claim, ring=self._doorbell.ring,
        )  # fmt: skip
        self._sweep = Sweep(
            self._engine, settings.public_url, worker.sweep_s, self._lanes, self._announcer,
            found=self._found, wake=self._wake, ring=self._doorbell.ring,
        )  # fmt: skip
        leases = Leases(self._engine, presence.id, self._flight)
        self._heartbeat = Heartbeat(
            settings, presence, worker.heartbeat_s, held=lambda: self._flight.leases, gone=leases.gone,
            stray=leases.strayed, silent=leases.ran_out, health=self._health,
        )  # fmt: skip

    # --- putting together ---

    def _catalog(self) -> Catalog:
        return self._live_catalog.current

    def _connect(self) -> None:
        worker, settings = self._worker, self._settings
        self._engine = connect(settings, "coatcheck_worker", pool_size=worker.database_pool, name="coatcheck-worker")
        self._redis = open_redis(settings.redis_url, settings.redis_timeout_s)
        self._announcer = Announcer(self._redis)
        kept = CacheSettings()
        self._cache = Cache(self._redis, kept)
        self._semantic = Semantic(self._engine, self._cache, kept)
        self._shadow = Shadow(self._engine, self._cache, self._semantic)
        self._doorbell = Doorbell(publisher(settings))

    def _join_path(self) -> None:
        """Make the parts that a job meets between its claim and its end."""
        worker = self._worker
        self._deltas = DeltaWriter(self._engine, worker.delta_flush_ms / 1000)
        self._slots = Slots(
            self._lanes, most=worker.max_in_flight, reserved=worker.reserved_slots,
            body_bytes=worker.max_body_bytes_in_flight, claim_limit=worker.claim_limit,
        )  # fmt: skip
        self._finisher = Finisher(
            self._engine, self._presence.id, self._settings.public_url, most=worker.finish_max_jobs,
            announcer=self._announcer,
            done=lambda outcomes: self._flight.settle(outcomes),  # noqa: PLW0108 - made below
            work=self._has_work,
        )  # fmt: skip
        self._plane = ModelPlane(self._live_catalog, self._redis, self._presence.id, lambda: self._workers, self._freed)
        self.router = self._plane.router
        self._classes = LaneClasses(self._slots, lambda: self._catalog().lane_targets)
        accounts = Accounts(self._redis, partial(read_bases, self._engine), lambda: self._workers)
        self._admission = Admission(Gate(accounts, partial(read_limits, self._engine)), self._catalog)
        embedders = Embedders(self.router, self._plane.providers)
        self._caching = Caching(
            self._cache, Nearness(self._semantic, self._shadow, lambda: embedders.current(self._catalog()))
        )
        self._flight = Flight(
            self._slots, Attempts(self.router, self._plane.providers), self._admission, self._deltas, self._announcer,
            submit=self._finisher.submit, freed=self._freed, ended=self._classes.ended,
            caching=self._caching,
        )  # fmt: skip

    def _take_duties(self) -> Duties:
        settings, engine, lanes = self._settings, self._engine, self._worker.lanes
        maintains = "maintenance" in lanes
        return Duties(
            webhooks=WebhookClaimer(engine, self._presence.id, settings, self._webhooks) if "webhooks" in lanes else None,
            maintenance=self._maintenance() if maintains else None,
            schedules=self._schedule_clock() if maintains else None,
            batches=self._upstream_batches() if "bulk" in lanes else None,
            warmth=WarmthKeeper(engine, self._catalog, self._plane.warm),
        )  # fmt: skip

    def _maintenance(self) -> Maintenance:
        # Connections of its own, opened when needed: to drop a week may take longer than a job's statements are given.
        engine = connect(self._settings, "coatcheck_worker", pool_size=0, name="coatcheck-maintenance", patient=True)
        return Maintenance(engine, self._settings)

    def _schedule_clock(self) -> ScheduleClock:
        return ScheduleClock(
            self._engine, self._catalog, self._settings.public_url, work=self._has_work,
            freshness=CacheFreshness(self._cache),
        )  # fmt: skip

    def _upstream_batches(self) -> UpstreamBatches:
        return UpstreamBatches(
            self._engine, self._presence.id, self._settings, self._worker, catalog=self._catalog,
            announcer=self._announcer, start=lambda row: self._flight.begin(Job.of(row, 1)), work=self._has_work,
            doors=BatchDoors(self._caching, self._admission, self._announcer),
        )  # fmt: skip

    # --- from start to end ---

    async def run(self, *, ready: Callable[[], None]) -> None:
        """Work until told to stop, and end what runs.

        Args:
            ready: called when jobs can be claimed.
        """
        background = await self._open()
        _log.info("engine_started", lanes=",".join(self._worker.lanes), process_id=str(self._presence.id))
        ready()
        for lane in (*self._lanes, "webhooks"):
            self._wake(lane)
        await self._stop_event.wait()
        await self._drain()
        await self._close(background)
        _log.info("engine_stopped")

    async def claim(self, lane: str) -> ClaimReport:
        """Claim the ready jobs of ``lane`` now; what has no claims of this kind is woken."""
        if lane in self._claimers:
            return await self._claimers.claim(lane)
        self._wake(lane)
        return ClaimReport(lane, 0, note="woken")

    def pause(self) -> None:
        """Claim nothing more; what runs goes on."""
        self._claimers.pause()
        self._duties.pause()

    def stop(self) -> None:
        """Let ``run`` come to its end."""
        self._stop_event.set()

    async def _open(self) -> list[asyncio.Task[None]]:
        for part in (self._announcer, self._deltas, self._finisher, self._doorbell, self._heartbeat):
            part.start()
        await self._plane.open()
        await asyncio.to_thread(self._heartbeat.first.wait, self._settings.database_connect_timeout_s)
        background = self._claimers.parts() | self._plane.parts() | self._duties.parts()
        background["sweep"] = self._sweep.run()
        background["forgotten"] = Forgotten(self._engine).run()
        background["silence"] = Silence(self._engine).run()
        background["lane-classes"] = self._classes.run()
        background["news"] = listen_for_news(self._redis, self._flight.abort, self._claimers.hint)
        tasks = [asyncio.create_task(work, name=name) for name, work in background.items()]
        for task in (*tasks, *self._finisher.tasks, *self._deltas.tasks):
            task.add_done_callback(self._part_ended)
        return tasks

    async def _drain(self) -> None:
        await self._claimers.settle()
        grace = self._worker.grace_s
        await self._flight.land(grace)
        await self._duties.drain(min(grace, self._webhooks.timeout_s))

    async def _close(self, background: list[asyncio.Task[None]]) -> None:
        await end_tasks(background)
        for part in (self._deltas, self._finisher, self._announcer):
            await part.stop()
        await self._plane.close()
        await self._admission.close()
        await self._shadow.close()
        await self._semantic.close()
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

    # --- who is woken by what ---

    def _found(self, lanes: Mapping[str, frozenset[str]], workers: int) -> None:
        self._workers = workers
        self._claimers.found(lanes)

    def _wake(self, lane: str) -> None:
        if lane in self._claimers:
            self._claimers.wake(lane)
        else:
            self._duties.wake(lane)

    def _has_work(self, lane: str) -> None:
        """A commit of ours gave a lane work: here if we serve it, elsewhere by doorbell."""
        here = self._duties.delivers if lane == "webhooks" else lane in self._claimers and not self._stopping()
        if here:
            self._wake(lane)
        else:
            self._doorbell.ring(lane)

    def _freed(self) -> None:
        self._claimers.slot_freed()

    async def _claim(self, lane: str, room: Room) -> Sequence[Row]:
        if not self._heartbeat.valid:
            # Claims under a lease that may have run out would be taken away again at once.
            return []
        return await claim(self._engine, lane, self._presence.id, room, self.router.served)

    def _health(self) -> dict[str, object]:
        """Return what the process's row says. Called on the heartbeat's thread."""
        self._plane.count_connections()
        return {
            "in_flight": self._slots.in_flight,
            "doorbell": self._doorbell.up,
            "deployments": self.router.report(),
        }
