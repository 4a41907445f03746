"""What the sweep does with a move that fails."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from core.announce import Announcer, open_redis
from core.lifecycle import Status
from core.settings import Settings
from tests.support.store import PUBLIC_URL, Store
from workers.engine.sweep import Sweep


async def test_a_move_that_fails_keeps_the_other_moves_from_nothing(store: Store, settings: Settings) -> None:
    tenant = await store.tenant()
    lost, late = await store.add(tenant), await store.add(tenant)
    due = await store.add(tenant, run_at=datetime.now(UTC) + timedelta(minutes=1))
    process = await store.process()
    [claimed] = await process.claim(1)
    assert claimed.id == lost
    await process.die()
    await store.make_late(late)
    await store.make_due()
    await store.sql("ALTER TABLE attempts ADD CONSTRAINT none_is_lost CHECK (outcome <> 'lost')")
    redis = open_redis(settings.redis_url, 1)
    found: list[Mapping[str, frozenset[str]]] = []
    sweep = Sweep(
        store.worker, PUBLIC_URL, 60, ("default",), Announcer(redis),
        found=lambda lanes, _: found.append(lanes), wake=lambda _: None, ring=lambda _: None,
    )  # fmt: skip
    # Not that something is due already: the next look would follow at once.
    assert await sweep.once() is None
    assert await store.status(lost) is Status.RUNNING
    assert await store.status(late) is Status.EXPIRED
    assert await store.places(due) == ["ready"]
    await store.sql("ALTER TABLE attempts DROP CONSTRAINT none_is_lost")
    await sweep.once()
    assert await store.status(lost) is Status.QUEUED
    assert found[-1] == {"default": frozenset({"sim/fast"})}
    await redis.aclose()
