"""Checking what a schedule will run: every job that its template and matrix make is checked as if it were handed in now."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import orjson
from pydantic import ValidationError

from api.new_job import new_job
from api.problems import Fault, Problem, invalid, invalid_fields
from api.routing import Call
from api.schemas.job_request import check
from api.schemas.schedules import MOST_BYTES, MOST_EXPANDED, keep_warm, learned
from api.schemas.wording import faults_of
from policies.auto import is_auto
from policies.cache_policy import cache_plan
from policies.catalog import Catalog
from policies.giving_way import BULK
from policies.schedules import KEEP_WARM, LEARNED, PREWARM, Matrix, combination, combinations, fill, placeholders

_TEMPLATE: Final = "/template"
_NOT_IN_TEMPLATES: Final = ("run_at", "delay_s")
# A job takes some fifty microseconds to check; other requests go on in between.
_SLICE: Final = 50


async def checked_members(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    """Return a schedule's members, ready to be stored.

    Raises:
        Problem: 422 that names every field at fault of the first job that is not valid.
    """
    kind, template, matrix = members["kind"], members["template"], members["matrix"]
    size = len(orjson.dumps(template)) + len(orjson.dumps(matrix))
    if size > MOST_BYTES:
        raise invalid(_TEMPLATE, f"Template and matrix may have {MOST_BYTES // 1024} KB together.")
    if kind == KEEP_WARM:
        return members | {"template": _warm_template(members, call.services.catalog)}
    if matrix == LEARNED:
        return members | {"template": _learned_template(kind, template, call.services.catalog)}
    for name in _NOT_IN_TEMPLATES:
        if template.get(name) is not None:
            raise invalid(f"{_TEMPLATE}/{name}", "The schedule says when its jobs run.")
    _check_placeholders(template, matrix)
    jobs = combinations(matrix)
    if jobs * len(orjson.dumps(template)) > MOST_EXPANDED:
        raise invalid(_TEMPLATE, f"The jobs of one run may have {MOST_EXPANDED // 2**20} MB together.")
    for index in range(jobs):
        _check_job(call, kind, template, combination(matrix, index))
        if index % _SLICE == _SLICE - 1:
            await asyncio.sleep(0)
    return members


def _check_placeholders(template: Mapping[str, Any], matrix: Matrix | None) -> None:
    unknown = [(name, where) for name, where in placeholders(template).items() if name not in (matrix or {})]
    if unknown:
        told = [Fault(_TEMPLATE + where, f"The matrix has no values for {{{{{name}}}}}.") for name, where in unknown]
        raise invalid_fields(told[:20])


def _check_job(call: Call, kind: str, template: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    filled = fill(template, values)
    if kind == PREWARM and filled.get("lane") == PREWARM:
        del filled["lane"]
    try:
        _check_cache(kind, filled)
        if kind == PREWARM and filled.get("lane") not in (None, BULK):
            raise invalid("/lane", "Prewarm jobs run in the lane prewarm, or in bulk where they may take a day.")
        request = check(filled, call.services.catalog)
        if kind == PREWARM and not cache_plan({}, request.endpoint, filled["body"]).keep:
            raise invalid("/body", "No answer to this request is kept: it does not say all that its answer depends on.")
        new_job(call, request)
    except Problem as problem:
        raise _of_template(problem, values) from None


def _check_cache(kind: str, request: Mapping[str, Any]) -> None:
    cache = request.get("cache")
    mode = cache.get("mode") if isinstance(cache, Mapping) else None
    if mode == "only":
        raise invalid("/cache/mode", "A job that only looks into the cache needs no schedule.")
    if kind == PREWARM and mode == "off":
        raise invalid("/cache/mode", "A prewarm run fills the cache.")


def _of_template(problem: Problem, values: Mapping[str, Any]) -> Problem:
    """Return the problem as one of the template, with the values that brought it about."""
    shown = ", ".join(f"{name}={orjson.dumps(value).decode()[:60]}" for name, value in values.items())
    suffix = f" (with {shown})" if shown else ""
    faults = [Fault(_TEMPLATE + fault.pointer, fault.detail + suffix) for fault in problem.errors]
    param = f"template.{problem.param}" if problem.param else "template"
    code = problem.code if problem.kind.status == 422 else "invalid_request"
    return Problem(
        code,
        problem.detail + suffix,
        param=param,
        errors=faults or [Fault(_TEMPLATE, problem.detail)],
        members=problem.members,
    )


def _learned_template(kind: str, template: dict[str, Any], catalog: Catalog) -> dict[str, Any]:
    if kind != PREWARM:
        raise invalid("/matrix", "Only prewarm learns what is asked for.")
    try:
        checked = learned(template)
    except ValidationError as error:
        faults = faults_of(error, _TEMPLATE)
        told = "With the matrix learned the template may hold endpoint and body.model: the requests are those that were made."
        raise invalid_fields([Fault(fault.pointer, f"{fault.detail} {told}") for fault in faults]) from None
    model = checked.get("body", {}).get("model")
    if model is not None and not is_auto(model) and not catalog.deployments_for(model):
        raise invalid(f"{_TEMPLATE}/body/model", f"There is no model {model!r}.", code="unknown_model")
    return checked


def _warm_template(members: Mapping[str, Any], catalog: Catalog) -> dict[str, Any]:
    for name in ("matrix", "budget"):
        if members[name] is not None:
            raise invalid(f"/{name}", "keep_warm makes no jobs.")
    try:
        template = keep_warm(members["template"])
    except ValidationError as error:
        raise invalid_fields(faults_of(error, _TEMPLATE)) from None
    if not template["models"] and not template["deployments"]:
        raise invalid(_TEMPLATE, "Name models or deployments to keep warm.")
    known = {deployment.name for deployment in catalog.deployments}
    for index, name in enumerate(template["deployments"]):
        if name not in known:
            raise invalid(f"{_TEMPLATE}/deployments/{index}", f"There is no deployment {name!r}.")
    for index, name in enumerate(template["models"]):
        if not catalog.deployments_for(catalog.resolve(name)):
            raise invalid(f"{_TEMPLATE}/models/{index}", f"There is no model {name!r}.", code="unknown_model")
    return template
