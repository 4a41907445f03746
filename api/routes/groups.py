"""Groups: jobs submitted together."""

from uuid import UUID

from api.answers import Answer, json_answer
from api.auth import JOBS_READ, JOBS_WRITE
from api.lookup import path_id
from api.problems import not_found
from api.routing import Call, needs
from core import ids
from core.render import render_group
from core.store.moves import cancel_group
from core.store.reading import read_group


async def group_answer(
    call: Call, group: UUID, status: int = 200, headers: list[tuple[bytes, bytes]] | None = None
) -> Answer:
    """Return the group as it is now.

    Raises:
        Problem: 404.
    """
    row = await read_group(call.services.engine, call.key.tenant_id, group)
    if row is None:
        raise not_found("group")
    return json_answer(render_group(row), status, headers or [])


@needs(JOBS_READ)
async def get_group(call: Call) -> Answer:
    """Return one group with its jobs counted by state."""
    group = path_id(call, ids.GROUP, "group")
    call.query()
    return await group_answer(call, group)


@needs(JOBS_WRITE)
async def stop_group(call: Call) -> Answer:
    """Cancel all jobs of a group that have not ended."""
    group = path_id(call, ids.GROUP, "group")
    await call.no_body()
    services = call.services
    cancelled = await cancel_group(services.engine, call.key.tenant_id, group, services.public_url)
    if cancelled is None:
        raise not_found("group")
    services.announcer.cancelled(cancelled.running)
    services.announcer.moved(cancelled.ended.jobs)
    if cancelled.ended.deliveries:
        services.doorbell.ring("webhooks")
    for lane in cancelled.ended.lanes:
        services.announcer.work(lane)
        services.doorbell.ring(lane)
    return await group_answer(call, group)
