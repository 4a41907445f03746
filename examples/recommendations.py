"""A page of recommendations that is ready before its first visitor: 20 segments × 10 categories, prewarmed every night.

    python examples/recommendations.py [model]

Makes the schedule, runs it now instead of at three in the morning, and opens the page for a visitor: what was prewarmed is there
at once, and what was not is a call to the model. The model is `sim/chat` unless named, which is simulated: its texts begin with
[sim]. Needs httpx.
The API and the key (with the scope admin) come from COATCHECK_API_URL and COATCHECK_API_KEY, else from the stack that `coatcheck
up` runs here.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import httpx

NAME = "recommendations, every night"
SEGMENTS = [
    f"{age} {who}" for age in ("young", "older") for who in (
        "families", "couples", "students", "pensioners", "hikers", "cyclists", "campers", "commuters", "gardeners", "beginners",
    )
]  # fmt: skip
CATEGORIES = [
    "tents", "sleeping bags", "boots", "rucksacks", "stoves", "lamps", "bicycles", "raincoats", "maps", "water bottles",
]  # fmt: skip


def target() -> tuple[str, str]:
    if "COATCHECK_API_URL" in os.environ:
        return os.environ["COATCHECK_API_URL"], os.environ["COATCHECK_API_KEY"]
    stack = json.loads(Path(".coatcheck/stack.json").read_text())
    return stack["api_url"], stack["api_key"]


def request(model: str, segment: str, category: str) -> dict[str, Any]:
    """One card of the page, and the schedule's template: what is prewarmed and what is asked for must be the same."""
    question = f"Recommend one of our {category} to {segment}, in one sentence."
    # At temperature 0 answers are kept without further ado: they are not meant to vary.
    body = {"model": model, "messages": [{"role": "user", "content": question}], "temperature": 0}
    return {"endpoint": "/v1/chat/completions", "body": body}


def nightly(client: httpx.Client, model: str) -> str:
    """Return the schedule's id; it is made if it is not there yet."""
    wanted = {
        "name": NAME,
        "kind": "prewarm",
        "cron": "0 3 * * *",
        "timezone": "Europe/Berlin",
        "template": request(model, "{{segment}}", "{{category}}"),
        "matrix": {"segment": SEGMENTS, "category": CATEGORIES},
        "ttl_s": 26 * 3600,  # until the next night's run has ended
    }
    schedules = good(client.get("/v1/schedules?limit=100"))["data"]
    known = [each["id"] for each in schedules if each["name"] == NAME and each["template"] == wanted["template"]]
    return str(known[0] if known else good(client.post("/v1/schedules", json=wanted))["id"])


def run_now(client: httpx.Client, schedule: str) -> dict[str, Any]:
    """Run it now and wait for the end. Entries that live until the next run are skipped: a second run costs nothing."""
    run: dict[str, Any] = good(client.post(f"/v1/schedules/{schedule}/run"))
    while run["status"] == "running":
        time.sleep(0.1)
        run = good(client.get(f"/v1/schedules/{schedule}/runs?limit=1"))["data"][0]
    return run


def card(client: httpx.Client, model: str, segment: str, category: str) -> None:
    """Ask as the page does, and tell how long the visitor looked at nothing."""
    began = time.perf_counter()
    job = good(client.post("/v1/jobs", json=request(model, segment, category), headers={"Prefer": "wait=60"}))
    took_ms = (time.perf_counter() - began) * 1000
    if job["status"] != "succeeded":
        sys.exit(f"{job['id']} is {job['status']}: {job['error']}")
    print(f"  {job['cache']['status']:<4} {took_ms:8.1f} ms  {category} for {segment}")
    print(f"       {job['result']['choices'][0]['message']['content'][:90]} …")


def good(answer: httpx.Response) -> Any:
    if answer.is_error:
        sys.exit(f"{answer.status_code}: {answer.json().get('detail')}")
    return answer.json()


def main() -> None:
    model = sys.argv[1] if len(sys.argv) > 1 else "sim/chat"
    url, key = target()
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=75) as client:
        schedule = nightly(client, model)
        began = time.perf_counter()
        run = run_now(client, schedule)
        told = ", ".join(
            f"{name} {run[name]}" for name in ("planned", "skipped_fresh", "submitted", "succeeded", "failed")
        )
        print(f"{schedule}: {run['status']} after {time.perf_counter() - began:.1f} s: {told}")
        print("the first visitor of the day:")
        card(client, model, SEGMENTS[4], CATEGORIES[2])
        # Nobody has thought of this one; with the time in it, it is new in every run of this example.
        print("beside it, a card that was not prewarmed:")
        card(client, model, f"somebody who comes at {time.time():.3f}", CATEGORIES[2])


if __name__ == "__main__":
    main()
