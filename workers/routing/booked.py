"""A call to a deployment with its books kept: counted in, its outcome learned from, its slot given back."""

import time
from collections.abc import Callable, Mapping

from workers.providers.protocol import Call, Delta, Provider, ProviderError, Reply
from workers.routing.router import Router
from workers.routing.state import DeploymentState


async def booked_call(
    router: Router,
    providers: Mapping[str, Provider],
    state: DeploymentState,
    call: Call,
    tokens: int,
    on_delta: Callable[[Delta], None] | None = None,
) -> Reply:
    """Make a call and return its answer.

    Args:
        router: told when the slot is free again.
        providers: by the provider names of the catalog.
        state: of the deployment that is called.
        call: the call.
        tokens: what it is expected to take; matters only where tokens are metered.
        on_delta: takes the pieces of a stream.

    Raises:
        ProviderError: what went wrong; ``upstream_ms`` tells how long it took.
    """
    visit = state.begin(call.endpoint, tokens)
    try:
        reply = await providers[call.deployment.provider].call(call, on_delta)
    except ProviderError as error:
        error.upstream_ms = (time.monotonic() - visit.began) * 1000
        visit.failed(error)
        raise
    else:
        visit.answered(reply.timing, reply.usage, reply.limits)
        return reply
    finally:
        visit.left()
        router.released(state)
