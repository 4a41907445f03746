"""Claiming deliveries, one target after the other."""

from sqlalchemy import event

from core import ids
from core.store.deliveries import DeliveryQueue
from tests.integration.webhooks.conftest import World


async def test_what_was_claimed_is_not_lost_with_the_next_look(world: World) -> None:
    """A claim that comes to the last target looks at the first ones again, and the database may be gone by then."""
    for number in range(2):
        await world.event(await world.endpoint(f"http://127.0.0.1:{9 + number}/"))
    queue = DeliveryQueue(world.worker, ids.new_id(), lease_s=30, per_target=32)
    assert len(await queue.claim(1, {})) == 1
    begun: list[object] = []

    def fail_the_second(connection: object) -> None:
        begun.append(connection)
        if len(begun) == 2:
            raise ConnectionError("gone")

    event.listen(world.worker.sync_engine, "begin", fail_the_second)
    assert len(await queue.claim(5, {})) == 1
    assert len(begun) == 2
