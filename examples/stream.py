"""Follow a job while its text is being made, and go on where a broken connection left off. Needs httpx.

    python examples/stream.py examples/texts/heat-pumps.md [model]

The API and the key come from COATCHECK_API_URL and COATCHECK_API_KEY, else from the stack that `coatcheck up` runs here.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

ENDS = {"job.succeeded", "job.failed", "job.cancelled", "job.expired"}


def target() -> tuple[str, str]:
    if "COATCHECK_API_URL" in os.environ:
        return os.environ["COATCHECK_API_URL"], os.environ["COATCHECK_API_KEY"]
    stack = json.loads(Path(".coatcheck/stack.json").read_text())
    return stack["api_url"], stack["api_key"]


def events(client: httpx.Client, url: str) -> Iterator[tuple[str, Any]]:
    """All events of a job to its end, each once, whatever happens to the connection."""
    last = "0"
    while True:
        try:
            with client.stream("GET", url, headers={"Last-Event-ID": last}) as answer:
                answer.raise_for_status()
                fields: dict[str, str] = {}
                for line in answer.iter_lines():
                    name, _, value = line.partition(":")
                    if name:
                        fields[name] = value.removeprefix(" ")
                    elif "data" in fields:
                        last = fields["id"]
                        yield fields["event"], json.loads(fields["data"])
                        if fields["event"] in ENDS:
                            return
                        fields = {}
        except httpx.TransportError:
            time.sleep(1)


def main() -> None:
    text = Path(sys.argv[1]).read_text(encoding="utf-8")
    model = sys.argv[2] if len(sys.argv) > 2 else "local/summarize"
    url, key = target()
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=30) as client:
        body = {"model": model, "messages": [{"role": "user", "content": text}], "stream": True}
        answer = client.post("/v1/jobs", json={"endpoint": "/v1/chat/completions", "body": body})
        answer.raise_for_status()
        for event, data in events(client, answer.json()["events_url"]):
            if event == "job.delta":
                print(data["delta"], end="", flush=True)
            elif event == "job.reset":  # a retry begins the text anew
                print("\n[begins again]")
            else:
                print(f"\n[{event}]", file=sys.stderr)


if __name__ == "__main__":
    main()
