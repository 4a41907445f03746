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
from api.schemas.schedules import MOST_BYTES, MOST_EXPANDED, keep_warm
from api.schemas.wording import faults_of
from policies.auto import is_auto
from policies.catalog import Catalog
from policies.schedules import KEEP_WARM, PREWARM, Matrix, combination, combinations, fill, placeholders

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
        if kind == PREWARM and filled.get("lane") is not None:
            raise invalid("/lane", "Prewarm jobs run in the lane prewarm.")
        request = check(filled, call.services.catalog)
        model = request.body["model"]
        if is_auto(model) and not call.services.catalog.deployments_for(model):
            raise invalid("/body/model", "A schedule names its model: auto is decided when a request comes in.")
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
