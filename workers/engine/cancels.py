"""Hearing of cancelled jobs at once. What is missed here comes with the next heartbeat."""

import asyncio
from collections.abc import Callable
from uuid import UUID

import structlog
from redis.asyncio import Redis

from core.announce import CANCELLED, REDIS_ERRORS, split_ids

_log = structlog.get_logger(__name__)
_RECONNECT_S = 1.0
_PING_S = 5.0


async def listen_for_cancels(redis: Redis, abort: Callable[[list[UUID]], None]) -> None:
    """Call ``abort`` with the ids of cancelled jobs, for ever; Redis may come and go."""
    away = False
    while True:
        try:
            async with redis.pubsub(ignore_subscribe_messages=True) as pubsub:
                await pubsub.subscribe(CANCELLED)
                away = False
                while True:
                    message = await pubsub.get_message(timeout=_PING_S)
                    if message is None:
                        # A half-open connection stays silent for ever; a ping finds out.
                        await pubsub.ping()
                    elif message["type"] == "message":
                        abort(split_ids(message["data"]))
        except REDIS_ERRORS as error:
            if not away:
                _log.warning("cancel_channel_away", error=type(error).__name__)
            away = True
        await asyncio.sleep(_RECONNECT_S)
