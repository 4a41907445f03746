"""`body.model: "auto"`: which model of the catalog takes a request, decided when it is accepted or a schedule makes it.

What is judged is the last user message: it says what is wanted now. A short one that goes on from an earlier one ("shorter,
please") is judged together with it. Instructions of the system speak only where no user does.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np

from core.embedding import shared_embedder
from policies.auto import Decision, Needs, NotRoutable, is_auto, resolve_auto
from policies.catalog import TEXT_ENDPOINTS, Catalog
from policies.complexity import Verdict, classify, gist
from policies.tokens import count_input, estimate_tokens

_FOLLOW_UP: Final = 60
# Compared one by one, not looked up in sets: a member may be of any type, also of one that can not be hashed.
_LIMITS: Final = ("max_completion_tokens", "max_tokens", "max_output_tokens")
_PICTURES: Final = ("image_url", "input_image", "image")
_JSON_FORMATS: Final = ("json_object", "json_schema")
# Token numbers, pictures, files: what can't be read may be anything.
_UNREADABLE: Final = Verdict("complex", 0.0, "the prompt holds no text to judge, so it is taken for complex")


def warm() -> None:
    """Load the embedding model and the weights (0.3 s), so that the first request does not wait; for a thread at the start."""
    judge("warm")


def judge(text: str) -> Verdict:
    """How hard a prompt is; about 0.2 ms, 0.5 ms at most for a long one."""
    if not text.strip():
        return _UNREADABLE
    vector = shared_embedder().embed([gist(text)]).vectors[0]
    return classify(text, np.asarray(vector))


def route(
    endpoint: str, body: Mapping[str, Any], catalog: Catalog, ttft_s: Mapping[str, float] | None = None
) -> Decision | None:
    """Choose the model of a checked request that asks for `auto`; None for one that names its model.

    Args:
        endpoint: the operation's path.
        body: its request, checked against the operation's schema.
        catalog: the one in force.
        ttft_s: seconds to the first token by model, where they are known; only `auto:fast` asks for them.

    Raises:
        policies.auto.NotRoutable: when the operation's requests have no text to judge.
        policies.auto.NoAutoPolicy: when the catalog says nothing about `auto`.
        policies.auto.NoModelFits: when no model can serve the request.
    """
    requested = body["model"]
    if not is_auto(requested):
        return None
    if endpoint not in TEXT_ENDPOINTS:
        raise NotRoutable(f"{endpoint} needs the name of a model: only text can be routed")
    return resolve_auto(requested, judge(prompt_of(body)), needs_of(endpoint, body), catalog, ttft_s)


def as_route(decision: Decision) -> dict[str, Any]:
    """Return what the job's `route` tells from its acceptance on; the worker adds the deployment."""
    return {
        "model": decision.model,
        "tier": decision.tier,
        "confidence": decision.confidence,
        "reason": decision.reason,
    }


def prompt_of(body: Mapping[str, Any]) -> str:
    """The text that says what is wanted."""
    turns = list(_turns(body))
    asked = [text for role, text in turns if role == "user" and text.strip()]
    if not asked:
        return "\n\n".join(text for role, text in turns if role in {"system", "developer"})
    last = asked[-1]
    if len(asked) > 1 and len(last) < _FOLLOW_UP:
        return f"{asked[-2]}\n\n{last}"
    return last


def needs_of(endpoint: str, body: Mapping[str, Any]) -> Needs:
    """What the request needs of a model: room, and abilities that its members ask for."""
    asked = next((body[name] for name in _LIMITS if type(body.get(name)) is int), None)
    found = {
        "vision": any(part.get("type") in _PICTURES for part in _parts(body)),
        "tools": bool(body.get("tools") or body.get("functions")),
        "json": _wants_json(body),
        "reasoning": _wants_reasoning(body),
    }
    capabilities = frozenset(name for name, wanted in found.items() if wanted)
    return Needs(endpoint, count_input(endpoint, body, estimate_tokens), asked, capabilities)


def ttft_by_model(catalog: Catalog, workers: Iterable[Mapping[str, object]]) -> dict[str, float]:
    """The median time to the first token, in seconds, of each model's quickest deployment, from the workers' health reports."""
    found: dict[str, float] = {}
    for health in workers:
        reports = health.get("deployments")
        for deployment in catalog.deployments if isinstance(reports, Mapping) else ():
            report = reports.get(deployment.name) if isinstance(reports, Mapping) else None
            measured = report.get("ttft_ms") if isinstance(report, Mapping) else None
            median = measured.get("p50") if isinstance(measured, Mapping) else None
            if isinstance(median, int | float):
                found[deployment.model] = min(found.get(deployment.model, float("inf")), median / 1000)
    return found


def _turns(body: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """Role and text of every message, whichever operation it belongs to."""
    if isinstance(instructions := body.get("instructions"), str):
        yield "system", instructions
    given = next((body[name] for name in ("messages", "input", "prompt") if name in body), None)
    if isinstance(given, str):
        yield "user", given
    for item in given if isinstance(given, list) else ():
        if isinstance(item, str):
            yield "user", item
        elif isinstance(item, Mapping) and isinstance(item.get("role"), str):
            yield item["role"], _text(item.get("content"))


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = [part.get("text") for part in parts if isinstance(part, Mapping)]
    return "\n\n".join(text for text in texts if isinstance(text, str))


def _parts(body: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    given = body.get("messages", body.get("input"))
    for item in given if isinstance(given, list) else ():
        content = item.get("content") if isinstance(item, Mapping) else None
        yield from (part for part in (content if isinstance(content, list) else ()) if isinstance(part, Mapping))


def _wants_json(body: Mapping[str, Any]) -> bool:
    wanted = body.get("response_format")
    text = body.get("text")
    if isinstance(text, Mapping):
        wanted = text.get("format", wanted)
    return isinstance(wanted, Mapping) and wanted.get("type") in _JSON_FORMATS


def _wants_reasoning(body: Mapping[str, Any]) -> bool:
    effort = body.get("reasoning_effort")
    reasoning = body.get("reasoning")
    if isinstance(reasoning, Mapping):
        effort = reasoning.get("effort", effort)
    return effort not in {None, "none"} if isinstance(effort, str | None) else False
