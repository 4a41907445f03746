"""What a job asks of caches, decided once, when it is made, and told to the worker in its ``cache_options``."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Self

import orjson

from core.cache.encodings import asked_encoding
from core.store.accept import NewJob
from core.store.entering import FLIGHT
from policies.cache_keys import exact_key, last_user_text, semantic_partition
from policies.cache_policy import NO_CACHE, NO_RULES, CachePlan, CacheRules, cache_plan
from policies.encodings import BASE64, EMBEDDINGS
from policies.likeness import LONGEST

# Hashing more than this takes as long as many small requests together.
_IN_THREAD_BYTES: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class Planned:
    """A job's plan and the key of its answer; no key where caches are passed by.

    Attributes:
        partition: among which questions near ones are looked for; empty where none are.
        looked: near questions were looked for when the job came in, and none had an answer for it.
    """

    plan: CachePlan = NO_CACHE
    key: bytes = b""
    partition: bytes = b""
    looked: bool = False

    @classmethod
    def of(cls, options: Mapping[str, Any] | None) -> Self:
        """Return what `tell` wrote into a job's `cache_options`."""
        told = (options or {}).get("plan")
        if not isinstance(told, dict):
            return cls()
        plan = CachePlan(
            told["look"], told["keep"], told["only"], told["ttl_s"], told.get("semantic", "off"), told.get("threshold")
        )
        partition = bytes.fromhex(told.get("partition", ""))
        return cls(plan, bytes.fromhex(told["key"]), partition, bool(told.get("looked")))

    def tell(self, job: NewJob, options: Mapping[str, Any] | None) -> None:
        """Write it down in a job that is not stored yet."""
        if not self.key:
            job.cache_options = None if options is None else orjson.dumps(options).decode()
            return
        plan = self.plan
        told: dict[str, Any] = {
            "look": plan.look, "keep": plan.keep, "only": plan.only, "ttl_s": plan.ttl_s, "key": self.key.hex(),
        }  # fmt: skip
        if self.partition:
            told |= {"semantic": plan.semantic, "threshold": plan.threshold, "partition": self.partition.hex()}
            told["looked"] = self.looked
        job.cache_options = orjson.dumps({**(options or {}), "plan": told}).decode()


def _way(job: NewJob) -> str:
    """Return what keeps jobs apart in flight that have one key and want their answer told in different ways."""
    packed = job.endpoint == EMBEDDINGS and asked_encoding(job.body) == BASE64
    return f" {BASE64}" if packed else ""


def planned(
    job: NewJob, body: Mapping[str, Any], options: Mapping[str, Any] | None, rules: CacheRules = NO_RULES
) -> Planned:
    """Return what caches are to do for a job, and its key. Changes nothing.

    Args:
        job: not stored yet.
        body: its request.
        options: the job's `cache` as it was given; None when it has none.
        rules: what its key and model say where it does not.
    """
    plan = cache_plan(options, job.endpoint, body, rules)
    if not (plan.look or plan.keep):
        return Planned(plan)
    tenant, endpoint, model = job.tenant_id, job.endpoint, job.model
    key = exact_key(tenant=tenant, endpoint=endpoint, model=model, body=body)
    if plan.semantic == "off":
        return Planned(plan, key)
    asked = last_user_text(endpoint, body)
    if asked is None or len(asked) > LONGEST:
        # Nothing that could be compared.
        return Planned(replace(plan, semantic="off"), key)
    return Planned(plan, key, semantic_partition(tenant=tenant, endpoint=endpoint, model=model, body=body))


def plan_job(
    job: NewJob, body: Mapping[str, Any], options: Mapping[str, Any] | None, rules: CacheRules = NO_RULES
) -> Planned:
    """Decide what caches are to do for a job, and write it down in the job.

    A job that may share its upstream call gets a concurrency key with a limit of 1, made of its cache key and lane: identical
    jobs wait behind the first, and when it succeeds its commit ends them too (`cache_coalesce.sql`). It is a lane's own key, so
    that an urgent job never waits behind a bulk one. Those that want embeddings as base64 have their own too, because they
    are given the very same answer. A job with a concurrency key of its own keeps that, and shares nothing.

    Args:
        job: not stored yet.
        body: its request.
        options: the job's `cache` as it was given; None when it has none.
        rules: what its key and model say where it does not.
    """
    found = planned(job, body, options, rules)
    found.tell(job, options)
    if found.key and found.plan.shares and job.concurrency_key is None:
        job.concurrency_key, job.concurrency_limit = f"{FLIGHT}{job.lane} {found.key.hex()}{_way(job)}", 1
    return found


async def plan_beside(
    job: NewJob, body: Mapping[str, Any], options: Mapping[str, Any] | None, rules: CacheRules = NO_RULES
) -> Planned:
    """Do as `plan_job`; the key of a large request is made in a thread, so that others go on."""
    if len(job.body) > _IN_THREAD_BYTES:
        return await asyncio.to_thread(plan_job, job, body, options, rules)
    return plan_job(job, body, options, rules)
