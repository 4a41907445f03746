"""`affinity`: prefix affinity against random choice between replicas that have a simulated prefix cache each. No servers."""

import heapq
import itertools
import random
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

from bench.figures import Figure, Must
from bench.world import World
from policies.balancing import Candidate, choose, prefix_of

_REPLICAS = 8
_REQUESTS = 16_000
_BLOCK = 16  # tokens that a cache keeps or forgets together
_CACHE_BLOCKS = 16_000
_APPS = 40
_POPULAR = 0.1  # of the conversations are about one and the same paper
_PAPER = "Whoever hands in a coat gets a number. " * 100
_TALKS_PER_S = 6.0
_THINKING_S = 15.0
_MS_PER_NEW_TOKEN = 0.5
_MS_PER_ANSWER_TOKEN = 8.0

Block = tuple[str, int, int]


@dataclass(slots=True)
class _Talk:
    """A conversation: the blocks of its next prompt, what its requests begin with, and how many calls are still to come."""

    number: int
    blocks: list[Block]
    prefix: bytes | None
    calls: int
    replica: str = ""

    def grow(self, tokens: int) -> None:
        """Say something more."""
        have = len(self.blocks)
        self.blocks += [("talk", self.number, have + more) for more in range(max(1, tokens // _BLOCK))]


@dataclass(slots=True)
class _Replica:
    in_flight: int = 0
    served: int = 0
    busy_ms: float = 0.0
    cache: OrderedDict[Block, None] = field(default_factory=OrderedDict)

    def known(self, blocks: list[Block]) -> int:
        """Return how many leading blocks are in the cache."""
        return next((at for at, block in enumerate(blocks) if block not in self.cache), len(blocks))

    def keep(self, blocks: list[Block]) -> None:
        """Put blocks into the cache; what was used longest ago leaves, ends of conversations before their beginnings."""
        for block in reversed(blocks):
            self.cache[block] = None
            self.cache.move_to_end(block)
        while len(self.cache) > _CACHE_BLOCKS:
            self.cache.popitem(last=False)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What one run brought; the loads are those of the fullest replica, by the mean over all."""

    hit_rate: float
    requests: float
    in_flight: float
    mean_ms: float


def measure(world: World) -> list[Figure]:
    """The same kind of conversations, once with each way of choosing."""
    world.say(f"{_REQUESTS:,} requests to {_REPLICAS} simulated replicas, twice")
    near, chance = _Simulation("prefix_affinity").run(_REQUESTS), _Simulation("weighted").run(_REQUESTS)
    note = (
        f"simulated: conversations under {_APPS} system messages, a tenth of them about one paper; "
        f"{_REPLICAS} replicas, each with a cache of "
        f"{_CACHE_BLOCKS * _BLOCK:,} tokens; the rate is that of prompt tokens found in the cache, at random "
        f"{chance.hit_rate:.0f} %. A call took {near.mean_ms:.0f} ms in the mean, at random {chance.mean_ms:.0f} ms"
    )
    return [
        Figure("affinity", "prompt tokens found in the prefix cache", near.hit_rate, "%", note=note),
        Figure("affinity", "times the hit rate of random choice", near.hit_rate / chance.hit_rate, "×", Must("≥", 2)),
        Figure("affinity", "fullest of 8 replicas: calls under way, by mean", near.in_flight, "×", Must("≤", 1.25)),
        Figure("affinity", "fullest of 8 replicas: requests, by mean", near.requests, "×", Must("≤", 1.25)),
    ]


class _Simulation:
    """Conversations come, call, think and call again; time is counted in ms and passes from event to event."""

    def __init__(self, strategy: str) -> None:
        self._strategy = strategy
        self._rng = random.Random(7)
        self._replicas = {f"replica-{number}": _Replica() for number in range(_REPLICAS)}
        self._numbers = itertools.count()
        # When, a number that decides between events of one moment, and whose call begins (True) or ends; None: somebody comes.
        self._events: list[tuple[float, int, bool, _Talk | None]] = [(0.0, 0, True, None)]
        self._apps = [
            (f"You are assistant {app} of the house. " * 100)[: 4 * (100 + 60 * (app * 17 % _APPS))]
            for app in range(_APPS)
        ]

    def run(self, requests: int) -> _Outcome:
        """Go on until so many calls were begun."""
        calls, found, asked, spent = 0, 0, 0, 0.0
        while calls < requests:
            now, _, begins, talk = heapq.heappop(self._events)
            if talk is None:
                talk = self._newcomer()
                self._later(now, self._rng.expovariate(_TALKS_PER_S) * 1000, True, None)
            if begins:
                hits, took = self._call(talk)
                self._later(now, took, False, talk)
                calls, found, asked, spent = calls + 1, found + hits, asked + len(talk.blocks), spent + took
            else:
                self._end(talk)
                if talk.calls:
                    self._later(now, self._rng.expovariate(1 / _THINKING_S) * 1000, True, talk)
        served = [replica.served for replica in self._replicas.values()]
        busy = [replica.busy_ms for replica in self._replicas.values()]
        return _Outcome(100 * found / asked, _fullest(served), _fullest(busy), spent / calls)

    def _later(self, now: float, wait_ms: float, begins: bool, talk: _Talk | None) -> None:
        heapq.heappush(self._events, (now + wait_ms, next(self._numbers), begins, talk))

    def _newcomer(self) -> _Talk:
        number = next(self._numbers)
        # The first applications have most of the conversations.
        app = min(int(self._rng.paretovariate(0.8)) - 1, _APPS - 1)
        blocks = [("app", app, at) for at in range(len(self._apps[app]) // 4 // _BLOCK)]
        question = f"Question {number}"
        if self._rng.random() < _POPULAR:
            # All of these begin alike: on one replica they would be more than it may have.
            app, question = 0, _PAPER
            blocks = [("paper", 0, at) for at in range(len(_PAPER) // 4 // _BLOCK)]
        messages = [{"role": "system", "content": self._apps[app]}, {"role": "user", "content": question}]
        talk = _Talk(
            number, blocks, prefix_of("/v1/chat/completions", {"messages": messages}), self._rng.randint(1, 11)
        )
        talk.grow(self._rng.randint(30, 400))
        return talk

    def _call(self, talk: _Talk) -> tuple[int, float]:
        """Begin a call; returns how many blocks need not be computed, and how long it takes in ms."""
        talk.replica = self._choose(talk)
        replica = self._replicas[talk.replica]
        hits = replica.known(talk.blocks)
        replica.keep(talk.blocks)
        new_tokens, answer_tokens = _BLOCK * (len(talk.blocks) - hits), self._rng.randint(50, 400)
        took = _MS_PER_NEW_TOKEN * new_tokens + _MS_PER_ANSWER_TOKEN * answer_tokens
        replica.in_flight += 1
        replica.served += 1
        replica.busy_ms += took
        talk.calls -= 1
        return hits, took

    def _choose(self, talk: _Talk) -> str:
        candidates = [
            Candidate(name, None, 1.0, replica.in_flight, None, 0.0, None, None)
            for name, replica in self._replicas.items()
        ]
        return choose(self._strategy, candidates, self._rng, prefix=talk.prefix).name

    def _end(self, talk: _Talk) -> None:
        """The answer is in the cache too; then the next question comes."""
        replica = self._replicas[talk.replica]
        replica.in_flight -= 1
        talk.grow(self._rng.randint(50, 400))
        replica.keep(talk.blocks)
        talk.grow(self._rng.randint(30, 400))


def _fullest(loads: Iterable[float]) -> float:
    values = list(loads)
    return max(values) * len(values) / sum(values)
