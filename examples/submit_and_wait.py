"""Hand over a document, get a ticket, collect the summary. Standard library only.

    python examples/submit_and_wait.py examples/texts/heat-pumps.md [model]

The API and the key come from COATCHECK_API_URL and COATCHECK_API_KEY, else from the stack that `coatcheck up` runs here.
"""

import json
import os
import sys
import uuid
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
    text = Path(sys.argv[1]).read_text(encoding="utf-8")
    model = sys.argv[2] if len(sys.argv) > 2 else "local/summarize"
    url, key = target()
    request = {
        "endpoint": "/v1/chat/completions",
        "body": {"model": model, "messages": [{"role": "user", "content": text}]},
        "metadata": {"file": Path(sys.argv[1]).name},
    }
    # With a key of its own the request can be sent again after a broken connection without making a second job.
    job = call("POST", f"{url}/v1/jobs", key, request, **{"Idempotency-Key": str(uuid.uuid4())})
    print(f"{job['status']}: {job['status_url']}", file=sys.stderr)
    while job["finished_at"] is None:
        job = call("GET", f"{job['status_url']}?wait=60", key)
    if job["status"] != "succeeded":
        sys.exit(f"{job['status']}: {job['error']}")
    print(job["result"]["choices"][0]["message"]["content"])


if __name__ == "__main__":
    main()
