"""Receive webhooks and believe only the signed ones. Needs standardwebhooks.

    python examples/webhook_receiver.py [port]

The secret comes from WEBHOOK_SECRET, else from the stack that `coatcheck up` runs here. To see one arrive:

    coatcheck jobs submit --model local/summarize --text - --webhook http://127.0.0.1:8090/ < examples/texts/heat-pumps.md
"""

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from standardwebhooks import Webhook, WebhookVerificationError


def secret() -> str:
    if "WEBHOOK_SECRET" in os.environ:
        return os.environ["WEBHOOK_SECRET"]
    return str(json.loads(Path(".coatcheck/stack.json").read_text())["webhook_secret"])


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    webhook: Webhook
    seen: set[str] = set()  # noqa: RUF012 - shared on purpose; a real receiver keeps the ids in its database

    def do_POST(self) -> None:
        # The signature is over these exact bytes: verify first, parse afterwards.
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            event = self.webhook.verify(body, dict(self.headers))
        except WebhookVerificationError as error:
            self._answer(401)
            print(f"refused: {error}", flush=True)
            return
        # Answer quickly, work later: after 15 s the try counts as failed and the event comes again.
        self._answer(204)
        if event["id"] not in self.seen:  # the same event may arrive twice
            self.seen.add(event["id"])
            print(f"{event['type']} {event['data']['id']}", flush=True)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def main() -> None:
    Receiver.webhook = Webhook(secret())
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 8090), Receiver)
    print(f"listening on http://127.0.0.1:{server.server_port}/", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
