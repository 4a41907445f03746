"""Hearing of cancelled jobs at once. What is missed here comes with the next heartbeat."""

import asyncio
from collections.abc import Callable
from uuid import UUID

import structlog
from redis.asyncio import Redis

from core.announce import CANCELLED, REDIS_ERRORS, heard, split_ids

_log = structlog.get_logger(__name__)
_RECONNECT_S = 1.0


async def listen_for_cancels(redis: Redis, abort: Callable[[list[UUID]], None]) -> None:
    """Call ``abort`` with the ids of cancelled jobs, for ever; Redis may come and go."""
    away = False
    while True:
        try:
            async with redis.pubsub(ignore_subscribe_messages=True) as pubsub:
                await pubsub.subscribe(CANCELLED)
                away = False
                async for _, data in heard(pubsub):
                    abort(split_ids(data))
        except REDIS_ERRORS as error:
            if not away:
                _log.warning("cancel_channel_away", error=type(error).__name__)
            away = True
        await asyncio.sleep(_RECONNECT_S)
