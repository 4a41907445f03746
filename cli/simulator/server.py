"""Routing of requests, steering (`sim` members and `POST /control`) and the record of what was seen."""

import asyncio
import random
import time
from collections import Counter
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson

from cli.simulator.answers import Asked, Json, answer_length, items_in, prompt_of
from cli.simulator.batches import Batches
from cli.simulator.connection import Connection, Request
from cli.simulator.exchange import _STREAMED, _WHOLE, Exchange, Slots
from cli.simulator.models import MODELS
from cli.simulator.stats import Seen, Stats


class BadRequest(Exception):
    """What the simulator itself refuses."""

    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


def _refusal(sim: Json, given: list[Any]) -> BadRequest | None:
    """What a server with limits of its own says of a request as a whole."""
    if len(given) > int(sim.get("max_items", len(given))):
        return BadRequest(413, f"{len(given)} items are too many")
    word = sim.get("refuse")
    bad = next((place for place, item in enumerate(given) if word and str(word) in str(item)), None)
    return None if bad is None else BadRequest(400, f"item {bad} holds {word!r}")


class Simulator:
    """The server's state; `connection` is its protocol factory."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._random = random.Random(seed)
        self._stats = Stats()
        self._slots = {model.name: Slots(model.slots) for model in MODELS.values() if model.slots}
        self._active: dict[Connection, Exchange] = {}
        self._connections: set[Connection] = set()
        self._control: dict[str, Json] = {}
        self._failed: Counter[str] = Counter()
        self._number = 0
        self._batches = Batches(seed, lambda: self._control.get("*", {}).get("batches") or {})

    def connection(self) -> Connection:
        """A protocol for one new connection."""
        return Connection(self)

    def close(self) -> None:
        """Cut off all clients."""
        for connection in list(self._connections):
            connection.transport.abort()

    def opened(self, connection: Connection) -> None:
        self._connections.add(connection)
        self._stats.connections += 1

    def lost(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._stats.connections -= 1
        exchange = self._active.pop(connection, None)
        if exchange is not None:
            exchange.cancel()
        self._stats.changed()

    def handle(self, connection: Connection, request: Request) -> None:
        target = request.target.decode("latin-1")
        try:
            if target in _WHOLE:
                self._model_request(connection, target, request)
            else:
                self._operation(connection, urlsplit(target), request)
        except BadRequest as error:
            self._refuse(connection, error.status, str(error), error.code)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            self._refuse(connection, 400, f"bad request: {type(error).__name__}")

    def _refuse(self, connection: Connection, status: int, message: str, code: str | None = None) -> None:
        error = {"message": f"[sim] {message}", "type": "invalid_request_error", "param": None, "code": code}
        connection.respond(status, orjson.dumps({"error": error}))
        connection.finished()

    def _model_request(self, connection: Connection, endpoint: str, request: Request) -> None:
        if request.method != b"POST":
            raise BadRequest(405, "use POST")
        body = orjson.loads(request.body)
        model = MODELS.get(body["model"])
        if model is None:
            raise BadRequest(404, f"the model {body['model']!r} does not exist", "model_not_found")
        sim = self._steering(model.name, body.get("sim"))
        given = items_in(endpoint, body)
        self._number += 1
        seen = Seen(
            id=f"simreq-{self._number:06d}",
            model=model.name,
            endpoint=endpoint,
            stream=bool(body.get("stream")) and endpoint in _STREAMED,
            items=len(given),
            key=sim.get("key"),
            job_id=request.headers.get(b"x-coatcheck-job-id"),
            traceparent=request.headers.get(b"traceparent"),
        )
        if (error := sim.get("error")) and self._fails(error, seen):
            self._stats.begin(seen)
            self._stats.end(seen, "failed")
            self._send_error(connection, error, seen, request)
            return
        if (refusal := _refusal(sim, given)) is not None:
            self._stats.begin(seen)
            self._stats.end(seen, "failed")
            raise refusal
        if (slow := sim.get("slow_calls")) and self._random.random() < float(slow["rate"]):
            sim = {**sim, "times_slower": float(slow.get("times", 10))}
        limit = body.get("max_tokens") or body.get("max_completion_tokens") or body.get("max_output_tokens")
        own = model.tokens or answer_length(self._seed, prompt_of(endpoint, body))
        tokens = int(sim.get("tokens", own))
        tokens = min(tokens, int(limit)) if limit else tokens
        asked = Asked(endpoint, body, sim, model.name, self._number, int(time.time()), max(1, tokens), self._seed)
        exchange = Exchange(connection, model, asked, seen, self._stats, self._slots.get(model.name))
        self._active[connection] = exchange
        exchange.start()

    def _steering(self, model: str, own: Any) -> Json:
        """What steers this request: the controls for all models, then for its model, then its own `sim` member."""
        if not self._control:
            return own or {}
        return {**self._control.get("*", {}), **self._control.get(model, {}), **(own or {})}

    def _fails(self, error: Json, seen: Seen) -> bool:
        if "times" in error:
            key = seen.key or f"{seen.model} {seen.job_id}"
            self._failed[key] += 1
            return self._failed[key] <= int(error["times"])
        return self._random.random() < float(error.get("rate", 1))

    def _send_error(self, connection: Connection, error: Json, seen: Seen, request: Request) -> None:
        status = int(error.get("status", 500))
        headers = f"x-request-id: {seen.id}\r\n"
        for name, header in (("retry_after", "retry-after"), ("retry_after_ms", "retry-after-ms")):
            if name in error:
                headers += f"{header}: {error[name]}\r\n"
        message = str(error.get("message", "this error was asked for"))
        if error.get("leak"):
            message += f" (your key: {request.headers.get(b'authorization')})"
        kind = error.get("type", "server_error" if status >= 500 else "invalid_request_error")
        detail = {"message": f"[sim] {message}", "type": kind, "param": None, "code": error.get("code")}
        connection.respond(status, orjson.dumps({"error": detail}), headers.encode("latin-1"))
        connection.finished()

    def _operation(self, connection: Connection, target: Any, request: Request) -> None:
        if target.path.startswith(("/v1/files", "/v1/batches")):
            self._batches.handle(connection, request)
            return
        route = (request.method, target.path)
        if route == (b"GET", "/healthz"):
            self._send(connection, {"status": "ok", "simulator": True})
        elif route == (b"GET", "/v1/models"):
            data = [{"id": name, "object": "model", "created": 0, "owned_by": "simulator"} for name in MODELS]
            self._send(connection, {"object": "list", "data": data})
        elif route == (b"GET", "/stats"):
            self._send_stats(connection, {name: values[-1] for name, values in parse_qs(target.query).items()})
        elif route == (b"POST", "/control"):
            self._send(connection, self._steer(orjson.loads(request.body)))
        else:
            raise BadRequest(404, "no such path")

    def _send(self, connection: Connection, body: Any) -> None:
        connection.respond(200, orjson.dumps(body))
        connection.finished()

    def _steer(self, body: Json) -> Json:
        """`{"model": "sim/chat", …sim members}` changes the defaults of a model (without `model`: of all).

        `{"clear": true}` forgets all such changes, `{"reset_stats": true}` the counters, and `{"release": true}` (or the
        `key` of a request) lets hanging requests go on.
        """
        if body.get("clear"):
            self._control.clear()
            self._batches.clear()
            self._failed.clear()
        if body.get("reset_stats"):
            self._stats.reset()
        if release := body.get("release"):
            for exchange in list(self._active.values()):
                if exchange.hanging and release in (True, exchange.seen.key):
                    exchange.release()
        changes = {
            name: value for name, value in body.items() if name not in ("model", "clear", "reset_stats", "release")
        }
        if changes:
            model = body.get("model", "*")
            self._control[model] = {**self._control.get(model, {}), **changes}
        return {"control": self._control}

    def _send_stats(self, connection: Connection, query: dict[str, str]) -> None:
        """`?last=N`; `?min_requests=`, `?min_in_flight=`, `?min_cancelled=`, `?max_in_flight=` with `&wait_s=` wait for it."""
        last = int(query.get("last", 100))
        total = self._stats.total
        least = {name: int(value) for name, value in query.items() if name.startswith(("min_", "max_"))}

        def reached() -> bool:
            return (
                total.requests >= least.get("min_requests", 0)
                and total.in_flight >= least.get("min_in_flight", 0)
                and total.in_flight <= least.get("max_in_flight", total.in_flight)
                and total.outcomes["cancelled"] >= least.get("min_cancelled", 0)
            )

        def answer() -> None:
            timer.cancel()
            self._stats.forget(answer)
            if not connection.transport.is_closing():
                self._send(
                    connection, {"reached": reached(), "batches": dict(self._batches.seen), **self._stats.shown(last)}
                )

        timer = asyncio.get_running_loop().call_later(min(float(query.get("wait_s", 0)), 60), answer)
        self._stats.watch(reached, answer)
