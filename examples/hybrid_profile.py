"""A page that answers at once, although a part of it takes a model some seconds, and fills that part in.

    python examples/hybrid_profile.py [--port 8091] [--model sim/chat]
    python examples/hybrid_profile.py --once

`GET /profiles/c17` answers from what is known (`summary_status: generating`) and hands the summary over as a job. When the job
has ended, its webhook brings the summary, and from then on the page has it (`summary_status: ready`). A webhook may be late or
lost: whoever asks for a page whose summary is overdue has the job looked up instead. `--once` is a visitor too: it opens the
page, looks again until it is whole, prints both, and ends.

The model is `sim/chat` unless named, which is simulated: its texts begin with [sim]. Needs httpx and standardwebhooks.
The API, the key and the webhook secret come from COATCHECK_API_URL, COATCHECK_API_KEY and WEBHOOK_SECRET, else from the stack
that `coatcheck up` runs here. The API must be allowed to send webhooks to this machine; that stack is.
"""

import argparse
import json
import os
import sys
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
from standardwebhooks import Webhook, WebhookVerificationError

CUSTOMERS = {
    "c17": "Customer since 2019. Smokers, veils, two hives. Asks about winter feed every autumn.",
    "c23": "Customer since 2023. Lamps and lenses. Returns half of what was ordered, always with a friendly note.",
}
OVERDUE_S = 5.0


def target() -> tuple[str, str, str]:
    if "COATCHECK_API_URL" in os.environ:
        return os.environ["COATCHECK_API_URL"], os.environ["COATCHECK_API_KEY"], os.environ["WEBHOOK_SECRET"]
    stack = json.loads(Path(".coatcheck/stack.json").read_text())
    return stack["api_url"], stack["api_key"], stack["webhook_secret"]


@dataclass
class Summary:
    """What a page knows of its summary; a real page keeps this in its database."""

    job: str
    since: float = field(default_factory=time.monotonic)
    status: str = "generating"
    text: str | None = None

    def ended(self, job: dict[str, Any]) -> None:
        if job["status"] == "succeeded":
            self.status, self.text = "ready", job["result"]["choices"][0]["message"]["content"]
        elif job["status"] in ("failed", "cancelled", "expired"):
            self.status = "unavailable"  # the page goes without: it never shows an error for a part of it


class Profiles:
    """The pages, and the jobs behind their summaries."""

    def __init__(self, api: httpx.Client, model: str, own_url: str) -> None:
        self._api = api
        self._model = model
        self._own_url = own_url
        self._lock = threading.Lock()
        self._summaries: dict[str, Summary] = {}

    def page(self, name: str) -> dict[str, Any]:
        with self._lock:
            if name not in self._summaries:
                self._summaries[name] = self._hand_over(name)
            summary = self._summaries[name]
        if summary.status == "generating" and time.monotonic() - summary.since > OVERDUE_S:
            summary.ended(self._api.get(f"/v1/jobs/{summary.job}").raise_for_status().json())
        return {"name": name, "about": CUSTOMERS[name], "summary_status": summary.status, "summary": summary.text}

    def _hand_over(self, name: str) -> Summary:
        """A ticket takes a millisecond or two; the cache may even have the answer already."""
        prompt = f"Sum this customer up in one sentence, for the shop's staff: {CUSTOMERS[name]}"
        request = {
            "endpoint": "/v1/chat/completions",
            "lane": "interactive",
            "body": {"model": self._model, "messages": [{"role": "user", "content": prompt}], "temperature": 0},
            "cache": {"ttl_s": 3600},
            "webhook": {"url": f"{self._own_url}/webhooks/summaries"},
            "metadata": {"profile": name},
        }
        job = self._api.post("/v1/jobs", json=request).raise_for_status().json()
        summary = Summary(job["id"])
        summary.ended(job)
        return summary

    def arrived(self, job: dict[str, Any]) -> None:
        """A webhook brought a job that has ended. A result over 20 kB is left out of it, and would have to be fetched."""
        with self._lock:  # it may be here before the answer to the POST
            summary = self._summaries.get(job["metadata"].get("profile", ""))
        if summary is not None and summary.job == job["id"]:
            summary.ended(job)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    profiles: Profiles
    webhook: Webhook

    def do_GET(self) -> None:
        name = self.path.removeprefix("/profiles/")
        self._answer(200, self.profiles.page(name)) if name in CUSTOMERS else self._answer(
            404, {"error": "no such page"}
        )

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            event = self.webhook.verify(body, dict(self.headers))
        except WebhookVerificationError:
            self._answer(401, {"error": "not signed by Coatcheck"})
            return
        self._answer(200, {})
        self.profiles.arrived(event["data"])

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        told = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)

    def log_message(self, *_: object) -> None:
        pass


def look(browser: httpx.Client) -> tuple[dict[str, Any], float]:
    began = time.perf_counter()
    page = browser.get("/profiles/c17").raise_for_status().json()
    return page, (time.perf_counter() - began) * 1000


def visit(url: str) -> None:
    """Open the page, and look again until it is whole."""
    with httpx.Client(base_url=url, timeout=30) as browser:
        began = time.perf_counter()
        page, took_ms = look(browser)
        print(f"at once, after {took_ms:.1f} ms: {json.dumps(page)}")
        while page["summary_status"] == "generating":
            time.sleep(0.05)
            page, took_ms = look(browser)
        passed_s = time.perf_counter() - began
        print(f"{passed_s:.1f} s later, after {took_ms:.1f} ms: {json.dumps(page)}")
    if page["summary_status"] != "ready":
        sys.exit("no summary came")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8091)
    parser.add_argument("--model", default="sim/chat")
    parser.add_argument("--once", action="store_true")
    options = parser.parse_args()
    url, key, secret = target()
    server = ThreadingHTTPServer(("127.0.0.1", 0 if options.once else options.port), Handler)
    own_url = f"http://127.0.0.1:{server.server_port}"
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=30) as api:
        Handler.profiles, Handler.webhook = Profiles(api, options.model, own_url), Webhook(secret)
        if not options.once:
            print(f"open {own_url}/profiles/c17, twice", flush=True)
            server.serve_forever()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        visit(own_url)
        server.shutdown()


if __name__ == "__main__":
    main()
