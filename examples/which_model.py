"""Let Coatcheck choose the model: which one each question gets and why, then what the answers took and cost.

    python examples/which_model.py "What is the capital of Portugal?" "Prove that the square root of two is irrational."

Needs a catalog that says what `auto` means; the simulator's models are enough. Standard library only.
The API and the key come from COATCHECK_API_URL and COATCHECK_API_KEY, else from the stack that `coatcheck up` runs here.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen


def target() -> tuple[str, str]:
    if "COATCHECK_API_URL" in os.environ:
        return os.environ["COATCHECK_API_URL"], os.environ["COATCHECK_API_KEY"]
    stack = json.loads(Path(".coatcheck/stack.json").read_text())
    return stack["api_url"], stack["api_key"]


def call(method: str, url: str, key: str, body: object = None, **headers: str) -> Any:
    data = None if body is None else json.dumps(body).encode()
    headers |= {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    try:
        with urlopen(Request(url, data, headers, method=method), timeout=75) as answer:  # noqa: S310 - our own URL
            return json.load(answer)
    except HTTPError as error:
        sys.exit(f"{error.code}: {json.load(error).get('detail')}")


def main() -> None:
    url, key = target()
    requests = [
        {"endpoint": "/v1/chat/completions", "body": {"model": "auto", "messages": [{"role": "user", "content": text}]}}
        for text in sys.argv[1:]
    ]
    for request, text in zip(requests, sys.argv[1:], strict=True):
        route = call("POST", f"{url}/v1/route", key, request)  # decides, and runs nothing
        print(f"{text}\n  {route['model']}: {route['reason']}")
    # All together as one group: they run side by side.
    group = call("POST", f"{url}/v1/jobs/bulk", key, requests)
    jobs = call("GET", f"{url}/v1/jobs?group_id={group['id']}&limit=100", key)["data"]
    for listed in reversed(jobs):  # the newest come first
        job = listed
        while job["finished_at"] is None:
            job = call("GET", f"{job['status_url']}?wait=60", key)
        if job["status"] != "succeeded":
            sys.exit(f"{job['status']}: {job['error']}")
        cost = "an unknown sum" if job["cost_usd"] is None else f"{job['cost_usd']} USD"
        print(f"{job['route']['deployment']} took {job['timing']['total_ms'] / 1000:.1f} s and {cost}")


if __name__ == "__main__":
    main()
