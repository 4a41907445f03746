"""The Celery app: stock Celery with the stock threads pool, and the engine as one more part of the worker.

Flower and beat import this module too, so nothing here opens a connection or needs a secret.
"""

import gc
import signal
from typing import TYPE_CHECKING, Any

from celery import Celery, bootsteps
from celery.schedules import crontab
from celery.signals import setup_logging, worker_shutting_down
from celery.worker.request import Request
from kombu.transport.virtual import Channel

from core.dispatch import CLAIM_TASK, broker_settings
from core.settings import LANES, Settings, WebhookSettings, WorkerSettings
from core.telemetry.logs import configure_logs

if TYPE_CHECKING:
    from workers.engine.engine import Engine

_MAINTENANCE_S = 300.0
_SCHEDULES = "schedules"
_SCHEDULES_S = 30.0

# A doorbell that was not acknowledged need not come back: the sweep sees what it rang for. Kombu's way of bringing it back ends
# the worker where the connection to Redis broke off just then.
Channel.do_restore = False

app = Celery("coatcheck", set_as_current=True)
app.conf.update(
    broker_settings(Settings()),
    # A doorbell is a dozen lines and a claim of a few milliseconds: four threads serve thousands of jobs.
    worker_pool="threads",
    worker_concurrency=4,
    worker_prefetch_multiplier=1,
    # Flower shows each claim as a task, with lane, size and job ids.
    worker_send_task_events=True,
    task_track_started=False,
    worker_hijack_root_logger=False,
    worker_redirect_stdouts=False,
    worker_cancel_long_running_tasks_on_connection_loss=False,
    # A Redis that has become a replica, or takes no more writes, answers with errors: come back to it, as to one that is away.
    broker_channel_error_retry=True,
    # Doorbells never have an ETA; should one turn up it must not fill the memory.
    worker_eta_task_limit=1000,
    task_routes={CLAIM_TASK: {"queue": "default"}},
    # Beat only rings. Two of it ring twice, none of it leaves the work to the workers' own clocks.
    beat_schedule={
        "ring-maintenance": {
            "task": CLAIM_TASK,
            "schedule": _MAINTENANCE_S,
            "args": ("maintenance",),
            "options": {"queue": "maintenance", "expires": _MAINTENANCE_S},
        },
        # Every minute on the minute, which is when schedules may be due: the workers look in Postgres which of them are.
        "ring-schedules": {
            "task": CLAIM_TASK,
            "schedule": crontab(),
            "args": (_SCHEDULES,),
            "options": {"queue": "maintenance", "expires": _SCHEDULES_S},
        },
    },
)


class EngineStep(bootsteps.StartStopStep):  # type: ignore[misc]
    """Starts the engine before the consumer, so that a missing broker doesn't keep work from being done."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, _worker: Any, **_: Any) -> None:
        # Flower and beat need the app, not the engine with its models and drivers.
        from workers.engine.engine import Engine  # noqa: PLC0415

        self.engine = Engine(Settings(), WorkerSettings(), WebhookSettings())
        _current.append(self.engine)

    def start(self, _worker: Any) -> None:
        """Start the engine; an error ends the worker."""
        self.engine.start()
        # Celery would start the program anew in this process, and fails where that was started as a module: a worker that is
        # hung up on stops as one that is told to, and whoever watches over it starts the next.
        signal.signal(signal.SIGHUP, signal.getsignal(signal.SIGTERM))
        # What is there by now stays for good. To search it for garbage, over and over while jobs run, stops all of them for a
        # tenth of a second each time.
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 50)

    def stop(self, _worker: Any) -> None:
        """Finish what can finish, hand back the rest."""
        self.engine.stop()

    terminate = stop


class Ring(Request):  # type: ignore[misc]
    """A doorbell that was taken from the broker.

    It may wait for a thread until the connection that it came in on has broken off and been replaced. There is nobody to
    acknowledge it to then, which kombu notices by the attribute that its closed channel has lost.
    """

    def __init__(self, *args: Any, connection_errors: tuple[type[Exception], ...] = (), **kwargs: Any) -> None:
        super().__init__(*args, connection_errors=(*connection_errors, AttributeError), **kwargs)


app.steps["worker"].add(EngineStep)
_current: list["Engine"] = []


@app.task(name=CLAIM_TASK, Request=Ring)  # type: ignore[untyped-decorator]
def claim(lane: str) -> dict[str, Any]:
    """Claim the ready jobs of a lane; they are in the engine's hands when this returns."""
    if lane not in (*LANES, _SCHEDULES) or not _current:
        return {"lane": str(lane)[:32], "size": 0, "note": "unknown lane"}
    return _current[0].claim(lane)


@worker_shutting_down.connect  # type: ignore[untyped-decorator]
def _stop_claiming(**_: Any) -> None:
    for engine in _current:
        engine.stop_claiming()


@setup_logging.connect  # type: ignore[untyped-decorator]
def _configure_logs(**_: Any) -> None:
    configure_logs(Settings(), "worker")
