"""Structured logs: one event name per line, ids beside it."""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from core.settings import Settings

# What must never reach a log, whoever put it there: our keys, webhook secrets, bearer tokens, passwords in URLs.
_SECRETS = re.compile(
    r"cc_[A-Za-z0-9_-]{8,}|whsec_[A-Za-z0-9+/=_-]{8,}|(?i:bearer\s+)\S+|(?<=://)[^/@\s]*:[^/@\s]*(?=@)"
)


def redact(text: str) -> str:
    """Return ``text`` with anything that looks like a secret replaced."""
    return _SECRETS.sub("[redacted]", text)


def _redact_values(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = redact(value)
    return event


def configure_logs(settings: Settings, process: str) -> None:
    """Send all logs of this process, ours and the libraries', to standard error in one format.

    Args:
        settings: level and format.
        process: which kind of process this is, on every line.
    """
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _redact_values,
    ]
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        if settings.log_format == "console"
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[settings.log_level.upper()]),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    structlog.contextvars.bind_contextvars(process=process)
    for noisy in ("httpx", "httpcore", "asyncio", "kombu", "celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
