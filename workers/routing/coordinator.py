"""The exchange between worker processes: one Lua call per tick for all deployments, none per job.

A process tells what it holds and what it saw, and hears what it may use, what the others saw and which breakers opened. While
Redis is away it uses an even part of each limit, as long as nobody answers, and goes by what it sees itself.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import orjson
import structlog
from redis.asyncio import Redis

from core.announce import REDIS_ERRORS
from policies.breaker import Counts, merge
from policies.concurrency import share
from workers.routing.adapting import Adapting
from workers.routing.router import Router
from workers.routing.share import unhurried
from workers.routing.state import DeploymentState, clock

_log = structlog.get_logger(__name__)
_SCRIPT: Final = (Path(__file__).parent / "share.lua").read_text()
_KEY: Final = "coatcheck:{routing}:"
TICK_S: Final = 0.25
_IDLE_TICK_S: Final = 0.5
_SOON_S: Final = 0.03
LEASE_S: Final = 2.0
# An answer that takes longer is as good as none: the next exchange would be due.
_ANSWER_S: Final = 0.5
# One process after the other probes what was broken: long enough for a probe's answer to be heard of before the next.
_TURN_S: Final = 2.0
_TURNS: Final = 10
_COUNTS: Final = ("total", "failed", "slow", "bad", "in_a_row")


class _Ledger:
    """What the coordinator remembers of one deployment between two exchanges."""

    def __init__(self, state: DeploymentState) -> None:
        self.limit = Adapting(state)
        self.verdict = -1
        self.was = "closed"
        self.open_until: float | None = None
        self.said = False
        self.rest_told = 0.0
        self.born: int | None = None


class Coordinator:
    """Exchanges with the other workers until cancelled.

    Args:
        redis: where the books are kept.
        router: whose deployments these are.
        process_id: who we are.
        workers: returns how many worker processes live, as far as we know.
        heard: called after each exchange, when slots may have changed.
    """

    def __init__(
        self, redis: "Redis", router: Router, process_id: UUID, workers: Callable[[], int], *, tick_s: float = TICK_S,
        lease_s: float = LEASE_S, heard: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self._redis = redis
        self._script = redis.register_script(_SCRIPT)
        self._router = router
        self._me = process_id.hex
        self._workers = workers
        self._tick_s = tick_s
        self._lease_s = lease_s
        self._heard = heard
        self._ledgers: dict[str, _Ledger] = {}
        self._valid_until = 0.0
        self._alone_since: float | None = None
        self._room: dict[str, int] = {}

    async def run(self) -> None:
        """Exchange for ever."""
        while True:
            await self.once()
            await asyncio.sleep(_SOON_S)
            try:
                async with asyncio.timeout(self._pause_s()):
                    await self._router.hunger()
            except TimeoutError:
                pass

    def _pause_s(self) -> float:
        busy = any(state.jobs for state in self._router.states.values())
        return (self._tick_s if busy else max(self._tick_s, _IDLE_TICK_S)) - _SOON_S

    async def once(self) -> bool:
        """Exchange once; tell whether there was an answer."""
        for state in self._router.states.values():
            state.record.refresh()
        states = [state for state in self._router.states.values() if state.shared]
        answered = await self._exchange(states) if states else True
        if not answered and self._alone_since is not None:
            self._go_alone(states, clock())
        self._heard()
        self._stir_if_more()
        return answered

    async def leave(self) -> None:
        """Give back what is held, so that the others needn't wait for the lease to run out."""
        with suppress(*REDIS_ERRORS):
            async with asyncio.timeout(_ANSWER_S):
                pipeline = self._redis.pipeline(transaction=False)
                for name in self._ledgers:
                    pipeline.execute_command("HDEL", _KEY + name, "p:" + self._me)
                await pipeline.execute()

    async def _exchange(self, states: list[DeploymentState]) -> bool:
        asked_at = clock()
        try:
            async with asyncio.timeout(_ANSWER_S):
                answers = await self._ask(states, asked_at)
        except REDIS_ERRORS as error:
            # Before the next try can have failed, the others may take what we hold.
            if self._alone_since is None and clock() + self._tick_s + _ANSWER_S >= self._valid_until:
                _log.warning("routing_alone", error=type(error).__name__, workers=self._workers())
                self._alone_since = asked_at
            return False
        if self._alone_since is not None:
            _log.info("routing_together")
        self._alone_since = None
        self._valid_until = asked_at + self._lease_s
        for state, answer in zip(states, answers, strict=True):
            self._hear(state, answer, clock())
        return True

    async def _ask(self, states: list[DeploymentState], now: float) -> list[Any]:
        asks = [self._report(state, now) for state in states]
        answer = await self._script(
            keys=[_KEY + state.name for state in states],
            args=[self._me, int(self._lease_s * 1000), self._workers(), orjson.dumps(asks)],
        )
        found: list[Any] = orjson.loads(answer)
        return found

    def _report(self, state: DeploymentState, now: float) -> dict[str, Any]:
        ledger = self._ledgers.get(state.name)
        if ledger is None:
            ledger = self._ledgers[state.name] = _Ledger(state)
        ledger.limit.state = state
        part, counts = state.part, state.breaker.counts(now)
        ask = part.report(self._router.slots_in_use(state))
        note = {
            "d": self._router.demand(state, now),
            "b": [getattr(counts, name) for name in _COUNTS],
            **ledger.limit.note(now),
        }
        ask["note"] = orjson.dumps(note).decode()
        if ledger.born is not None:
            ask["born"] = ledger.born
        if ledger.limit.news is not None:
            ask["limit"] = ledger.limit.news
        if state.rest_until > max(now, ledger.rest_told):
            ask["rest"] = (state.rest_until - now) * 1000
        ask |= self._verdict(state, ledger, now)
        return ask

    def _verdict(self, state: DeploymentState, ledger: _Ledger, now: float) -> dict[str, Any]:
        """Tell the others when our breaker changed by itself. Resting is told apart, as it is nobody's failure."""
        until = state.breaker.retry_at
        is_now = "closed" if until is None or state.rest_until > now else "open"
        unchanged = is_now == ledger.was and (is_now == "closed" or until == ledger.open_until)
        ledger.said = not (unchanged or (is_now == "open" and state.breaker.state(now) == "half_open"))
        if not ledger.said:
            return {}
        ledger.was, ledger.open_until = is_now, until
        ms = max(0.0, ((until or now) - now) * 1000)
        return {"verdict": {"state": is_now, "ms": ms, "reason": state.breaker.reason or ""}}

    # --- what the others say ---

    def _hear(self, state: DeploymentState, answer: dict[str, Any], now: float) -> None:
        ledger = self._ledgers[state.name]
        peers = {name: orjson.loads(note) for name, note in answer["peers"].items()}
        ledger.limit.news = None
        # While the books are young, those who remember older ones go on remembering them.
        if ledger.born is None or answer["settled"]:
            ledger.born = answer["born"]
        state.part.heard(answer["held"], answer["limit"])
        self._divide(state, peers, answer)
        self._rest(state, ledger, answer["rest"] / 1000, now)
        self._judge(state, ledger, answer["verdict"], peers, now)
        # One of them adapts the limit for all, by what all of them saw: whoever comes first in the alphabet.
        if min(peers) == self._me:
            ledger.limit.by_all(peers, float(answer["limit"]), now)
        else:
            ledger.limit.leave_it()

    def _divide(self, state: DeploymentState, peers: dict[str, Any], answer: dict[str, Any]) -> None:
        limit = state.part.limit
        # Everybody keeps one where there are enough, so that no lane waits for another process to notice.
        least = 1 if limit >= len(peers) else 0
        demands = {name: max(least, int(note["d"])) for name, note in peers.items()}
        needed = share(limit, demands)
        spare = unhurried(limit - sum(needed.values()))
        mine = needed[self._me] + share(spare, dict.fromkeys(peers, 0), spread=True)[self._me]
        state.part.divide(mine, answer["left"], (demands[self._me] + 1) / (sum(demands.values()) + len(demands)))

    def _rest(self, state: DeploymentState, ledger: _Ledger, seconds: float, now: float) -> None:
        if seconds > 0:
            state.rest(now, seconds)
        ledger.rest_told = state.rest_until

    def _judge(
        self, state: DeploymentState, ledger: _Ledger, verdict: dict[str, Any], peers: dict[str, Any], now: float
    ) -> None:
        # What this process has just said itself comes back as the last word.
        news = verdict["number"] > ledger.verdict and not ledger.said
        ledger.verdict = verdict["number"]
        breaker, place = state.breaker, sorted(peers).index(self._me)
        if news and verdict["state"] == "open" and verdict["ms"] > 0:
            if ledger.was == "closed":
                breaker.trip(now, verdict["reason"] or None)
            self._await_turn(state, ledger, now, now + verdict["ms"] / 1000, place + 1)
        elif news and verdict["state"] == "closed" and ledger.was == "open":
            breaker.close()
        elif breaker.retry_at is None and len(peers) > 1:
            # None saw enough alone; all together they may have.
            reports = [Counts(**dict(zip(_COUNTS, note["b"], strict=True))) for note in peers.values()]
            whole = merge(reports, breaker.settings)
            if whole.trips:
                breaker.trip(now, whole.reason)
                self._await_turn(state, ledger, now, breaker.retry_at or now, place)
                return
        else:
            return
        ledger.was = "closed" if breaker.retry_at is None else "open"

    def _await_turn(self, state: DeploymentState, ledger: _Ledger, now: float, until: float, place: int) -> None:
        """Leave the first probes to the processes before this one: each has a turn to be the one that closes the breaker."""
        breaker = state.breaker
        breaker.hold_until(now, until + _TURN_S * min(place, _TURNS), breaker.reason or "")
        ledger.was, ledger.open_until = "open", breaker.retry_at

    def _stir_if_more(self) -> None:
        """Slots that came from elsewhere, or a breaker whose time is over: nobody else would say so."""
        before, self._room = self._room, self._router.room()
        if any(room and not before.get(model) for model, room in self._room.items()):
            self._router.stir()

    # --- nobody there ---

    def _go_alone(self, states: list[DeploymentState], now: float) -> None:
        workers, since = max(1, self._workers()), self._alone_since or now
        self._alone_since = now
        for state in states:
            ledger = self._ledgers[state.name]
            state.part.limit = ledger.limit.alone(self._me, workers, now)
            state.part.alone(workers, now - since)
