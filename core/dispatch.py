"""Doorbells: Celery messages that say "lane X has work". They carry no job and may be lost, doubled or late without harm.

The publisher is a thread of its own: kombu blocks, and nobody should wait for a broker. A lane that is rung while its
last ring is still on the way is rung once more, not a hundred times.
"""

import threading
import time
from contextlib import suppress
from typing import Any, Final

import structlog
from celery import Celery
from kombu.utils.uuid import uuid

from core.settings import Settings
from core.telemetry.metrics import DOORBELLS

CLAIM_TASK: Final = "coatcheck.claim"
_PAUSE_S: Final = 1.0
_COLLECT_S: Final = 0.02
_EXPIRES_S: Final = 600

_log = structlog.get_logger(__name__)


def broker_settings(settings: Settings) -> dict[str, Any]:
    """Return the Celery settings that concern the broker, for publishers and workers alike.

    Silence on a connection is bounded (kombu's own default is for ever), rings are neither retried nor kept, only direct queues
    are used (a lost binding can't swallow a ring), and content is JSON.
    """
    timeout = settings.broker_socket_timeout_s
    options: dict[str, Any] = {}
    if settings.broker_url.startswith(("redis", "sentinel", "valkey")):
        options = {
            "socket_timeout": timeout,
            "socket_connect_timeout": min(2.0, timeout),
            "health_check_interval": max(1, int(2 * timeout)),
            "max_connections": 20,
            # Rings are acknowledged when they arrive, so nothing is ever restored; an hour is kombu's own default.
            "visibility_timeout": 3600,
        }
        if "socket" not in settings.broker_url.split("://", 1)[0]:
            options["socket_keepalive"] = True
    return {
        "broker_url": settings.broker_url,
        "broker_transport_options": options,
        "broker_connection_timeout": min(2.0, timeout),
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "task_serializer": "json",
        "accept_content": ["json"],
        "result_accept_content": ["json"],
        "event_serializer": "json",
        "task_ignore_result": True,
        "task_store_errors_even_if_ignored": False,
        "task_acks_late": False,
        "task_publish_retry": False,
        "task_create_missing_queues": True,
        "task_default_queue": "default",
        "worker_enable_remote_control": True,
        "enable_utc": True,
    }


def publisher(settings: Settings) -> Celery:
    """Return a Celery app that only sends."""
    app = Celery("coatcheck", set_as_current=False)
    timeout = settings.broker_publish_timeout_s
    config = broker_settings(settings)
    config["broker_transport_options"] = config["broker_transport_options"] | (
        {"socket_timeout": timeout, "socket_connect_timeout": timeout} if config["broker_transport_options"] else {}
    )
    config["broker_connection_timeout"] = timeout
    app.conf.update(config)
    return app


class Doorbell:
    """Rings lanes in the background."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._lanes: dict[str, None] = {}
        self._wake = threading.Condition()
        self._stopping = False
        self._producer: Any = None
        self._thread = threading.Thread(target=self._run, name="doorbell", daemon=True)
        self.up = True

    def start(self) -> None:
        """Start the publishing thread."""
        self._thread.start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """Publish what is left, for at most ``timeout_s`` seconds, and stop."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def ring(self, lane: str) -> None:
        """Say that ``lane`` has work; returns at once."""
        with self._wake:
            self._lanes[lane] = None
            self._wake.notify()

    def _run(self) -> None:
        try:
            self._ring_for_ever()
        finally:
            self._hang_up()

    def _ring_for_ever(self) -> None:
        while True:
            with self._wake:
                while not self._lanes and not self._stopping:
                    self._wake.wait()
                if self._stopping and not self._lanes:
                    return
            if not self._stopping:
                # Idle workers have had a hint already (``Announcer.work``). A ring costs both sides a millisecond of their
                # interpreter, just when they are busy with the very job; and one ring for several jobs says as much.
                time.sleep(_COLLECT_S)
            with self._wake:
                lanes = list(self._lanes)
                self._lanes.clear()
            if not self._publish(lanes):
                if self._stopping:
                    return
                # Workers sweep once a second anyway; hammering a dead broker would help nobody.
                time.sleep(_PAUSE_S)

    def _publish(self, lanes: list[str]) -> bool:
        try:
            for lane in lanes:
                self._send(lane)
        except Exception as error:  # noqa: BLE001 - a broker's client may raise anything, and rings may be lost
            self._hang_up()
            self._note(up=False, error=type(error).__name__)
        else:
            self._note(up=True)
        return self.up

    def _send(self, lane: str) -> None:
        """Publish one ring on a connection of this thread's own: what ``send_task`` does, without its pools and look-ups."""
        if self._producer is None:
            self._producer = self._app.amqp.Producer(self._app.connection_for_write(), auto_declare=False)
        message = self._app.amqp.as_task_v2(uuid(), CLAIM_TASK, args=(lane,), expires=_EXPIRES_S, ignore_result=True)
        self._producer.publish(
            message.body,
            # The default exchange goes by the queue's name alone: there is no binding that could get lost.
            exchange="",
            routing_key=lane,
            serializer="json",
            headers=message.headers,
            delivery_mode=1,
            retry=False,
            **message.properties,
        )

    def _hang_up(self) -> None:
        if self._producer is not None:
            connection = self._producer.connection
            self._producer = None
            with suppress(Exception):
                connection.collect()

    def _note(self, *, up: bool, error: str | None = None) -> None:
        DOORBELLS.labels("rung" if up else "lost").inc()
        if up != self.up:
            self.up = up
            if up:
                _log.info("broker_back")
            else:
                _log.warning("broker_away", error=error)
