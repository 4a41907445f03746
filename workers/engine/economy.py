"""Thrift: a request that is made with fewer tokens, where its model's policy asks for it. The stored job stays as it was sent."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from core.tokens import input_tokens
from policies.catalog import Deployment, Thrift
from policies.thrift import Summary, plan, with_summary

# Counting the tokens of more text than this takes long enough to be done beside the loop.
_LONG_BYTES: Final = 32_768

#: Asks a model for a summary; None when that fails, because a missing summary is no reason to fail the job.
Ask = Callable[[Summary], Awaitable[str | None]]


@dataclass(frozen=True, slots=True)
class Economy:
    """What is sent, the input tokens that it has less than the job's own body, and what was done, in words."""

    body: dict[str, Any]
    saved_tokens: int = 0
    done: tuple[str, ...] = ()


async def economise(
    endpoint: str, body: dict[str, Any], size: int, thrift: Thrift, deployment: Deployment, ask: Ask
) -> Economy:
    """Return how a request is made at a deployment.

    Args:
        endpoint: the operation's path.
        body: the job's own; it is not changed.
        size: its length in bytes.
        thrift: what to do.
        deployment: whose tokens are counted, and whose context length history is fitted to.
        ask: makes the call that summarises history.
    """
    count = partial(input_tokens, deployment.upstream_model or deployment.model, endpoint)
    make = partial(
        plan, endpoint, body, thrift, count, context_length=deployment.context_length,
        reasons="reasoning" in deployment.capabilities,
    )  # fmt: skip
    planned = await asyncio.to_thread(make) if size > _LONG_BYTES else make()
    if planned.summary is None:
        return Economy(planned.body, planned.saved_tokens, planned.done)
    text = await ask(planned.summary)
    if text is None:
        return await economise(endpoint, body, size, replace(thrift, fit_history="drop"), deployment, ask)
    summarised = with_summary(planned, text)
    saved = await asyncio.to_thread(lambda: count(body) - count(summarised))
    return Economy(summarised, max(0, saved), planned.done)
