"""Between a job and its model: calls are shared, a model is chosen, an ill server is avoided, and all of it is accounted for."""

import statistics
import textwrap
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from cli.demo.api import Json, chat, ensure
from cli.demo.groups import run_group
from cli.demo.scenery import ENDED, Scenery
from policies.costs import as_text

MERGED = 500
_LARGE = "sim/large"
#: As people ask them: simple ones, some in between, and two that are work.
QUESTIONS = (
    "What is the capital of Portugal?",
    "Wie viele Tage hat der Februar in einem Schaltjahr?",
    "Translate into French: see you tomorrow at the station.",
    "Explain in a short paragraph how a heat pump works to a twelve-year-old.",
    "Escribe un correo amable a un cliente cuyo paquete llega dos días tarde y ofrécele un vale de descuento.",
    "Design the data model and the consistency protocol of a seat reservation system that runs in three regions.",
    "Prove that for every prime p greater than 3 the number p^2 - 1 is divisible by 24, and say for which n that holds.",
)
_DEMANDING = frozenset({"complex", "reasoning"})
TRIO = "sim/trio"
_SERVERS = ("sim/trio-a", "sim/trio-b", "sim/trio-c")
#: Jobs while all is well, while the illness is news, and when it is known.
_WELL, _NEWS, _KNOWN = 60, 180, 60
#: With an open breaker a few calls are let through, now and then, to see whether the server is well again.
_PROBES = 6
_ILL = "sim/trio-b"
_BREAKER_S = 10.0
_PAUSE_S = 0.1


def merge(scenery: Scenery) -> None:
    """Jobs of one model that can share an upstream call do, and each gets its own part of the answer."""
    show, simulator = scenery.show, scenery.simulator
    show.scene(f"{MERGED} jobs share a few calls")
    show.say(
        "sim/gpu simulates an accelerator: 50 ms a call and 2 ms for each item in it; merge_items = 64 in the catalog"
    )
    simulator.post("/control", {"reset_stats": True})
    texts = [f"line {number} of a long list" for number in range(MERGED)]
    requests = [
        {"endpoint": "/v1/embeddings", "lane": "bulk", "body": {"model": "sim/gpu", "input": text}} for text in texts
    ]
    group = run_group(scenery, requests)
    seen = simulator.get("/stats?last=0").body["models"]["sim/gpu"]
    show.good(f"{MERGED} embedding jobs in {group.seconds:.1f} s; the simulator's own count: {calls_told(seen)}")
    ensure(seen["requests"] <= MERGED / 10, f"{MERGED} jobs took {seen['requests']} calls")
    alone = simulator.post("/v1/embeddings", {"model": "sim/embed", "input": texts}).body["data"]
    own = [
        job["result"]["data"][0]["embedding"] == part["embedding"] for job, part in zip(group.jobs, alone, strict=True)
    ]
    ensure(all(own), f"{own.count(False)} jobs got another text's vector")
    show.good(f"each job got the vector of its own text, and its part of the cost: {_usd(group.jobs[0]['cost_usd'])}")


def calls_told(tally: Mapping[str, Any]) -> str:
    """How many calls the simulator counted, and how large they were."""
    sizes = sorted(((int(size), count) for size, count in tally["batch_items"].items()), reverse=True)
    return f"{tally['requests']} calls ({', '.join(f'{count} × {size}' for size, count in sizes)})"


def route(scenery: Scenery) -> None:
    """`model: auto` takes a small model for what is simple and the large one for what is not."""
    show = scenery.show
    show.scene('"model": "auto" takes the model that a question needs')
    show.say(
        "sim/nano, small, medium and large are simulated, with the first token and speed of real models of these sizes"
    )
    for question in (QUESTIONS[0], QUESTIONS[-1]):
        told = scenery.api.post("/v1/route", chat("auto", question)).body
        show.good(f"POST /v1/route “{_short(question)}”: {told['tier']} → {told['model']}")
        show.quote(told["reason"], lines=3)
    requests = [chat(model, question) for model in ("auto", _LARGE) for question in QUESTIONS]
    jobs = run_group(scenery, requests).jobs
    auto, large = jobs[: len(QUESTIONS)], jobs[len(QUESTIONS) :]
    show.say(f"{len(QUESTIONS)} questions, each as a job for auto and as one for {_LARGE}:")
    head = ("question", "tier", "model", "auto", _LARGE)
    show.table(head, map(_side_by_side, QUESTIONS, auto, large), left=3)
    _compare(scenery, auto, large)


def _side_by_side(question: str, auto: Json, large: Json) -> Sequence[str]:
    route = auto["route"]
    return (_short(question), route["tier"], route["deployment"], _took(auto), _took(large))


def _took(job: Json) -> str:
    return f"{job['timing']['total_ms'] / 1000:.1f} s"


def _compare(scenery: Scenery, auto: Sequence[Json], large: Sequence[Json]) -> None:
    tiers = {job["route"]["deployment"]: job["route"]["tier"] for job in auto}
    hard = [job for job in auto if job["route"]["tier"] in _DEMANDING]
    ensure(len(tiers) > 1, f"every question went to the same model: {tiers}")
    ensure(
        [job["route"]["deployment"] for job in auto[-2:]] == [_LARGE] * 2,
        "a hard question did not go to the large model",
    )
    before, after = (statistics.mean(job["timing"]["total_ms"] for job in jobs) / 1000 for jobs in (large, auto))
    dear, cheap = cost_of(large), cost_of(auto)
    ensure(after < before and cheap < dear, "choosing the model made answers slower or dearer")
    scenery.show.good(
        f"on average {after:.1f} s instead of {before:.1f} s, for {cheap:.4f} instead of {dear:.4f} USD (made-up prices); "
        f"the {len(hard)} hard ones still went to {_LARGE}"
    )


def fail_over(scenery: Scenery) -> None:
    """One of a model's three servers falls ill; no job fails for it."""
    show, simulator = scenery.show, scenery.simulator
    show.scene("One of three servers falls ill")
    show.say(f"{TRIO} has three deployments, all simulated: {', '.join(_SERVERS)}")
    simulator.post("/control", {"reset_stats": True})
    well = _ask_trio(scenery, _WELL)
    simulator.post("/control", {"model": _ILL, "error": {"status": 500}})
    news = _ask_trio(scenery, _NEWS)
    breakers = _breakers(scenery)
    known = _until_known(scenery, news)
    rows = [
        ("all is well", *_shares(well)),
        (f"{_ILL} answers status 500", *_shares(news)),
        ("its breaker is open", *_shares(known)),
    ]
    show.table(("", "jobs", *_SERVERS, "after a detour"), rows, left=1)
    show.good(f"all {len(well) + len(news) + len(known)} jobs succeeded")
    _tell_detours(scenery, [*news, *known])
    show.good(f"GET /v1/deployments, breakers: {breakers}")
    simulator.post("/control", {"clear": True})


def _ask_trio(scenery: Scenery, count: int) -> list[Json]:
    return run_group(scenery, (chat(TRIO, f"Question {number}", max_tokens=20) for number in range(count))).jobs


def _until_known(scenery: Scenery, news: list[Json]) -> list[Json]:
    """Ask until all workers have heard of the breaker; return the jobs that found it open, and add the others to `news`."""
    deadline = time.monotonic() + _BREAKER_S
    while len(_detours(jobs := _ask_trio(scenery, _KNOWN))) > _PROBES:
        news += jobs
        ensure(time.monotonic() < deadline, f"{_ILL} is still asked as often as the others")
    return jobs


def _detours(jobs: Iterable[Json]) -> list[Json]:
    """The jobs that asked another deployment before the one that answered."""
    return [job for job in jobs if job["route"]["fallbacks"]]


def _shares(jobs: Sequence[Json]) -> Sequence[str]:
    """How many jobs there were, who answered how many, and how many had asked somebody else before."""
    served = Counter(job["route"]["deployment"] for job in jobs)
    return tuple(str(count) for count in (len(jobs), *(served[name] for name in _SERVERS), len(_detours(jobs))))


def _tell_detours(scenery: Scenery, jobs: Sequence[Json]) -> None:
    detours = _detours(jobs)
    ensure(detours, f"no job met {_ILL} after it fell ill")
    ensure(all(job["attempts"] == 1 for job in detours), "a job needed a second attempt")
    ensure(all(job["route"]["deployment"] != _ILL for job in jobs), f"{_ILL} answered a job although it is ill")
    scenery.show.good(f"the {len(detours)} that met {_ILL} went on elsewhere within the same attempt, such as:")
    route = detours[0]["route"]
    scenery.show.quote(f"fallbacks: {route['fallbacks']}; reason: {route['reason']}", lines=3)


def _breakers(scenery: Scenery) -> str:
    """Wait until the workers, who report twice a second, say that the ill server's breaker has opened; return what they say."""
    deadline = time.monotonic() + _BREAKER_S
    while True:
        trio = [each for each in scenery.api.get("/v1/deployments").body["data"] if each["model"] == TRIO]
        states = {each["id"]: each["breaker"] for each in trio}
        if states[_ILL] != "closed":
            break
        ensure(time.monotonic() < deadline, f"the breaker of {_ILL} did not open: {states}")
        time.sleep(_PAUSE_S)
    ensure(sum(state == "closed" for state in states.values()) == len(trio) - 1, f"the breakers stand at {states}")
    reason = next(each["breaker_reason"] for each in trio if each["id"] == _ILL)
    return f"{', '.join(f'{name} {state}' for name, state in states.items())} ({reason})"


def books(scenery: Scenery) -> None:
    """What all of it used and cost, by model; the sum of the jobs is the sum of the books."""
    show, api = scenery.show, scenery.api
    show.scene("What all this used and cost")
    usage = api.get("/v1/usage?group_by=model").body
    show.say("GET /v1/usage?group_by=model; the simulator's prices are made up, and models on this machine have none:")
    rows = [_account_row(row) for row in [*usage["data"], {**usage["total"], "model": "in all"}]]
    show.table(("model", "jobs", "tokens in", "tokens out", "USD"), rows, left=1)
    booked = {row["model"]: row for row in usage["data"]}
    jobs = list(api.pages(f"/v1/jobs?model={TRIO}"))
    ensure(all(job["status"] in ENDED for job in jobs), f"a job of {TRIO} has not ended")
    ensure(
        cost_of(jobs) == Decimal(booked[TRIO]["cost_usd"]),
        f"the jobs of {TRIO} cost something else than the books say",
    )
    ensure(booked["sim/fast"]["cost_usd"] is None, "the cost of a model without a price is not told as unknown")
    show.good(f"the {len(jobs)} jobs of {TRIO}, added up one by one from cost_usd, cost exactly that")
    show.good("a cost that nobody knows is null, never zero")


def _account_row(row: Json) -> Sequence[str]:
    cost = row["cost_usd"]
    tokens = (f"{row[name]:,}" for name in ("input_tokens", "output_tokens"))
    return (row["model"], f"{row['jobs']:,}", *tokens, "unknown" if cost is None else as_text(Decimal(cost)))


def cost_of(jobs: Iterable[Json]) -> Decimal:
    """What jobs cost together, exactly. Raises DemoFailed if one has no cost."""
    costs = [job["cost_usd"] for job in jobs]
    ensure(None not in costs, "a job has no cost")
    return sum(map(Decimal, costs), Decimal(0))


def _usd(cost: str) -> str:
    return f"{as_text(Decimal(cost))} USD"


def _short(text: str) -> str:
    return textwrap.shorten(text, 48, placeholder=" …")
