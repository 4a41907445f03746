"""News by Redis: cancelled jobs, and lanes that have just got work.

What is missed here comes with the heartbeat, the doorbell or the sweep.
"""

import asyncio
from collections.abc import Callable
from uuid import UUID

import structlog
from redis.asyncio import Redis

from core.announce import CANCELLED, REDIS_ERRORS, WORK, heard, split_ids

_log = structlog.get_logger(__name__)
_RECONNECT_S = 1.0


async def listen_for_news(redis: Redis, abort: Callable[[list[UUID]], None], hint: Callable[[str], None]) -> None:
    """Call ``abort`` with the ids of cancelled jobs and ``hint`` with lanes that have work, for ever; Redis may come and go."""
    away = False
    while True:
        try:
            async with redis.pubsub(ignore_subscribe_messages=True) as pubsub:
                await pubsub.subscribe(CANCELLED, WORK)
                away = False
                async for channel, data in heard(pubsub):
                    if channel == WORK:
                        hint(data.decode("ascii", "replace"))
                    else:
                        abort(split_ids(data))
        except REDIS_ERRORS as error:
            if not away:
                _log.warning("news_channel_away", error=type(error).__name__)
            away = True
        await asyncio.sleep(_RECONNECT_S)
