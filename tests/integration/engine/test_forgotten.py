"""Places of concurrency keys that nobody filled."""

import asyncio

from core.lifecycle import Status
from core.store.statements import statement
from tests.integration.engine.conftest import StartEngine
from tests.support.simulator import RunningSimulator
from tests.support.store import Store, chat_body, new_job
from tests.support.waiting import eventually


async def test_a_cancel_that_is_broken_off_delays_the_next_of_the_key_by_seconds(
    store: Store, start_engine: StartEngine, simulator: RunningSimulator
) -> None:
    await start_engine()
    tenant = await store.tenant()
    bodies = [chat_body("sim/fast", sim={"hang": True}), chat_body("sim/fast")]
    first, second = await store.accept(
        *(new_job(tenant, body=body, concurrency_key="one", concurrency_limit=1) for body in bodies)
    )

    async def reached(job: object) -> bool:
        return await store.status(job) is Status.SUCCEEDED  # type: ignore[arg-type]

    await asyncio.to_thread(simulator.wait_for, min_in_flight=1)
    async with store.worker.connect() as cancelling:
        await cancelling.execute(statement("lock_places"), {"id": [second]})
        await asyncio.to_thread(simulator.control, release=True)
        await eventually(lambda: reached(first))
        assert await store.places(second) == ["held_back"]
        await cancelling.rollback()
    await eventually(lambda: reached(second))
