"""Screening of submitted jobs: the rules of `policies.screening`, and plug-ins that are installed beside us.

A plug-in is an entry point of the group `coatcheck.screening`, a callable that takes the texts of a request and returns findings.
"""

from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any, Final

import structlog

from api.problems import Fault, Problem
from core.telemetry.metrics import SCREENING_FINDINGS
from policies.screening import BLOCK, OFF, RULES, Finding, Screen, screen, texts_of

GROUP: Final = "coatcheck.screening"
_MOST_SHOWN: Final = 20

_log = structlog.get_logger("api.screening")


def plug_ins() -> tuple[Screen, ...]:
    """Load the installed plug-ins, once at the start; one that cannot be loaded stops it, because it was meant to protect."""
    return tuple(point.load() for point in sorted(entry_points(group=GROUP), key=lambda point: point.name))


def screened(
    mode: str, endpoint: str, body: Mapping[str, Any], more: Sequence[Screen] = (), *, request_id: str = ""
) -> tuple[str, ...]:
    """Return the names of the rules that fit a request, to be noted on its job as `route.screening`.

    Raises:
        Problem: 422 `screened` in the mode `block`, naming the rules and places but never what was found.
    """
    if mode == OFF:
        return ()
    findings = screen(texts_of(endpoint, body), more)
    if not findings:
        return ()
    for finding in findings:
        SCREENING_FINDINGS.labels(finding.rule if finding.rule in RULES else "plug-in", mode).inc()
    rules = tuple(finding.rule for finding in findings[:_MOST_SHOWN])
    _log.warning("screening_found", mode=mode, rules=list(rules), request_id=request_id)
    if mode == BLOCK:
        faults = [_fault(finding) for finding in findings[:_MOST_SHOWN]]
        detail = f"The request was blocked by the screening rule {rules[0]}."
        raise Problem("screened", detail, param="body", errors=faults, members={"rule": rules[0], "rules": list(rules)})
    return rules


def _fault(finding: Finding) -> Fault:
    return Fault("/body" + finding.pointer, f"The screening rule {finding.rule} fits here.")
