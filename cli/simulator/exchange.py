"""One model request from arrival to end: waiting for a slot, for its time, then answering, or failing as asked."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

import orjson

from cli.simulator import answers, texts
from cli.simulator.answers import Asked, Json
from cli.simulator.connection import Connection
from cli.simulator.faults import FAULTS, Fault
from cli.simulator.models import Model
from cli.simulator.stats import Seen, Stats

_WHOLE: dict[str, Callable[[Asked], Json]] = {
    "/v1/chat/completions": texts.chat,
    "/v1/completions": texts.completion,
    "/v1/responses": texts.response,
    "/v1/embeddings": answers.embeddings,
    "/v1/moderations": answers.moderations,
    "/v1/rerank": answers.rerank,
}
_STREAMED: dict[str, Callable[[Asked], texts.Events]] = {
    "/v1/chat/completions": texts.chat_events,
    "/v1/completions": texts.completion_events,
    "/v1/responses": texts.response_events,
}
_TICK_S = (
    0.005  # tokens due within one tick leave together: a timer for each would cost more than the rest of the request
)


# uvloop counts whole milliseconds, so a timer may fire that much early; its token is due all the same.
_EARLY_S = 0.001


class Slots:
    """Limited room, as on an accelerator: who finds none waits in line."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._line: deque[Exchange] = deque()

    def enter(self, exchange: "Exchange") -> None:
        if self._free:
            self._free -= 1
            exchange.admitted()
        else:
            self._line.append(exchange)

    def leave(self, exchange: "Exchange") -> None:
        if exchange in self._line:
            self._line.remove(exchange)
        elif self._line:
            self._line.popleft().admitted()
        else:
            self._free += 1


class Exchange:
    """A request under way on one connection."""

    __slots__ = (
        "_asked", "_connection", "_delay", "_events", "_fault", "_head", "_interval", "_loop", "_model", "_sent", "_sim",
        "_slots", "_started", "_stats", "_stream", "_timer", "over", "seen",
    )  # fmt: skip

    def __init__(
        self, connection: Connection, model: Model, asked: Asked, seen: Seen, stats: Stats, slots: Slots | None
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._connection = connection
        self._model = model
        self._asked = asked
        self._sim = asked.sim
        self.seen = seen
        self._stats = stats
        self._slots = slots
        self._stream = seen.stream
        self._timer: asyncio.TimerHandle | None = None
        self._fault: Fault | None = None
        self._head = b"x-request-id: %b\r\n" % seen.id.encode()
        self._events: texts.Events | None = None
        self._sent = 0
        self._started = 0.0
        self._interval = 0.0
        self._delay = self._delay_s()
        self.over = False

    def start(self) -> None:
        """Wait for a slot if the model has slots, then for the answer's time."""
        self._stats.begin(self.seen)
        if self._sim.get("hang"):
            return
        if self._slots is None:
            self.admitted()
        else:
            self._slots.enter(self)

    def admitted(self) -> None:
        """There is room: the clock of the answer starts."""
        if self._delay > 0:
            self._timer = self._loop.call_later(self._delay, self._answer)
        else:
            self._answer()

    @property
    def hanging(self) -> bool:
        """Whether it waits for `release`."""
        return bool(self._sim.get("hang"))

    def release(self) -> None:
        """Let a hanging request go on."""
        self._sim = {name: value for name, value in self._sim.items() if name != "hang"}
        if self._slots is None:
            self.admitted()
        else:
            self._slots.enter(self)

    def cancel(self) -> None:
        """The client went away."""
        self._end("cancelled")

    def _delay_s(self) -> float:
        sim, model = self._sim, self._model
        speed = float(sim.get("tokens_per_s", 0 if "latency_ms" in sim else model.tokens_per_s))
        self._interval = 1 / speed if speed > 0 else 0.0
        if "latency_ms" in sim:
            delay = float(sim["latency_ms"]) / 1000
        else:
            first = float(sim.get("ttft_ms", model.ttft_ms))
            delay = (first + model.fixed_ms + model.item_ms * self.seen.items) / 1000
        if not self._stream and self._asked.endpoint in _STREAMED:
            delay += (self._asked.tokens - 1) * self._interval
        return delay * float(sim.get("times_slower", 1))

    def _answer(self) -> None:
        try:
            self._answer_as_asked()
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            self._refuse(error)

    def _refuse(self, error: Exception) -> None:
        detail = {"message": f"[sim] bad request: {type(error).__name__}", "type": "invalid_request_error"}
        self._connection.respond(400, orjson.dumps({"error": detail}), self._head)
        self._end("failed")

    def _answer_as_asked(self) -> None:
        fault = FAULTS.get(self._sim.get("malformed", ""))
        if fault is not None:
            self._fault = fault(self._connection, self._sim, lambda: self._end("malformed"))
            self._fault.start()
        elif self._stream:
            self._events = _STREAMED[self._asked.endpoint](self._asked)
            self._connection.start_stream(self._head)
            self._started = self._loop.time()
            self._send_due()
        else:
            body = _WHOLE[self._asked.endpoint](self._asked)
            self._connection.respond(200, orjson.dumps(body), self._head)
            self._end("completed")

    def _send_due(self) -> None:
        if self._events is None:
            return
        timed = self._events.timed
        due = len(timed)
        if self._interval:
            due = min(due, int((self._loop.time() - self._started + _EARLY_S) / self._interval) + 1)
        stop = self._stops_after()
        if stop is not None and due >= stop:
            self._break_off(timed[self._sent : stop])
            return
        if due >= len(timed):
            self._connection.send_chunk(b"".join(timed[self._sent :]) + self._events.tail, last=True)
            self._end("completed")
            return
        self._connection.send_chunk(b"".join(timed[self._sent : due]))
        self._sent = due
        wait = self._started + due * self._interval - self._loop.time()
        self._timer = self._loop.call_later(max(wait, _TICK_S), self._send_due)

    def _stops_after(self) -> int | None:
        """After how many tokens a stream breaks, if it was asked to."""
        if self._sim.get("malformed") in ("stream_error", "stream_cut", "stream_hang"):
            return int(self._sim.get("after_tokens", 2))
        return None

    def _break_off(self, rest: list[bytes]) -> None:
        kind = self._sim["malformed"]
        data = b"".join(rest)
        if kind == "stream_hang":
            self._connection.send_chunk(data)
            self._events = texts.Events([], b"")
            return
        if kind == "stream_error":
            error: dict[str, Any] = {
                "message": "[sim] the stream broke",
                "type": "server_error",
                "code": "server_error",
            }
            self._connection.send_chunk(data + b"data: " + orjson.dumps({"error": error}) + b"\n\n", last=True)
        else:
            self._connection.send_chunk(data)
            self._connection.transport.close()
        self._end("malformed")

    def _end(self, outcome: str) -> None:
        if self.over:
            return
        self.over = True
        if self._timer is not None:
            self._timer.cancel()
        if self._fault is not None:
            self._fault.stop()
        if self._slots is not None:
            self._slots.leave(self)
        self._stats.end(self.seen, outcome)
        if outcome != "cancelled":
            self._connection.finished()
