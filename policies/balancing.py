"""Which deployment of a model takes the next call. Pure: the caller brings the numbers, the clock and the dice.

Peak EWMA with two random choices is the default: it notices a replica that has become slow from its first slow answer, and two
choices instead of all keep the processes, which see each other's load only a moment later, from falling on the same replica.
Prefix affinity is consistent hashing with bounded loads (Mirrokni, Thorup, Zadimoghaddam 2016).
"""

import bisect
import functools
import hashlib
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

LOAD_BOUND: Final = 1.25
# Points on the ring per deployment: shares of the keys then differ by about a tenth.
_POINTS: Final = 128
# How often `lowest_ttft` looks at another deployment: without, one that was slow once would never be measured again.
_CURIOSITY: Final = 0.02
PREFIX_BYTES: Final = 2048
_ENDING_CHARS: Final = 64
# Whoever is slower is not looked at anyway; from here back to a usual latency takes about a minute.
_MOST_MS: Final = 120_000.0
_MOST_MESSAGES: Final = 16
_SYSTEM: Final = frozenset({"system", "developer"})


@dataclass(frozen=True, slots=True)
class Candidate:
    """A deployment that could take the call, as it stands now.

    `ewma_ms` is the peak EWMA of its latency, 0 when nothing is known; `free` the calls it has still room for, None for any
    number; `price` in USD per million tokens, None when unknown.
    """

    name: str
    region: str | None
    weight: float
    in_flight: int
    free: int | None
    ewma_ms: float
    ttft_ms: float | None
    price: Decimal | None

    @property
    def has_room(self) -> bool:
        """Whether one more call may be started."""
        return self.free is None or self.free > 0


def choose(
    strategy: str,
    candidates: Sequence[Candidate],
    rng: random.Random,
    *,
    prefix: bytes | None = None,
    regions: Sequence[str] = (),
) -> Candidate:
    """Return the candidate that takes the next call; when none has room, the one that would if it had.

    Args:
        strategy: one of `STRATEGIES`.
        candidates: in any order; names are unique. One with weight 0 is taken only when there is no other.
        rng: decides what is left to chance.
        prefix: what `prefix_of` says of the request; without one `prefix_affinity` balances by peak EWMA.
        regions: in order of preference. Deployments of other regions, or of none, come last.

    Raises:
        ValueError: when there is no candidate or no such strategy.
    """
    if strategy not in STRATEGIES:
        raise ValueError(f"unknown strategy {strategy!r}")
    if not candidates:
        raise ValueError("nothing to choose from")
    group = _preferred([each for each in candidates if each.weight > 0] or candidates, regions)
    if len(group) == 1:
        return group[0]
    if strategy == "prefix_affinity" and prefix is not None:
        return _on_ring(group, prefix)
    return _BY_NUMBERS[strategy]([each for each in group if each.has_room] or group, rng)


def _preferred(candidates: Sequence[Candidate], regions: Sequence[str]) -> Sequence[Candidate]:
    """All candidates of the first region with room, full ones included: they keep their places on the ring."""
    if not regions:
        return candidates
    groups = [[each for each in candidates if each.region == region] for region in regions]
    groups.append([each for each in candidates if each.region not in regions])
    with_room = (group for group in groups if any(each.has_room for each in group))
    return next(with_room, None) or next(group for group in groups if group)


def _peak_ewma(candidates: Sequence[Candidate], rng: random.Random) -> Candidate:
    if len(candidates) == 1:
        return candidates[0]
    first = int(rng.random() * len(candidates))
    second = int(rng.random() * (len(candidates) - 1))
    one, other = candidates[first], candidates[second + (second >= first)]
    # Of one that has not answered yet nothing is known: taken for as quick as the other, it is tried, and not flooded.
    cost = _load(one) * (one.ewma_ms or other.ewma_ms or 1.0)
    return one if cost <= _load(other) * (other.ewma_ms or one.ewma_ms or 1.0) else other


def _least_in_flight(candidates: Sequence[Candidate], rng: random.Random) -> Candidate:
    return _least(candidates, _load, rng)


def _weighted(candidates: Sequence[Candidate], rng: random.Random) -> Candidate:
    return rng.choices(candidates, [max(each.weight, 0.0) or 1e-9 for each in candidates])[0]


def _cheapest(candidates: Sequence[Candidate], rng: random.Random) -> Candidate:
    known = [each.price for each in candidates if each.price is not None]
    if not known:
        return _peak_ewma(candidates, rng)
    lowest = min(known)
    return _peak_ewma([each for each in candidates if each.price == lowest], rng)


def _lowest_ttft(candidates: Sequence[Candidate], rng: random.Random) -> Candidate:
    unknown = [each for each in candidates if each.ttft_ms is None and not each.in_flight]
    if unknown:
        return rng.choice(unknown)
    measured = [each for each in candidates if each.ttft_ms is not None]
    if not measured or rng.random() < _CURIOSITY:
        return _peak_ewma(candidates, rng)
    return _least(measured, lambda each: each.ttft_ms or 0.0, rng)


def _load(candidate: Candidate) -> float:
    """Calls that would be under way with the next one, seen against what the deployment is there for."""
    return (candidate.in_flight + 1) / max(candidate.weight, 1e-9)


def _least(candidates: Sequence[Candidate], key: Callable[[Candidate], float], rng: random.Random) -> Candidate:
    lowest = min(map(key, candidates))
    return rng.choice([each for each in candidates if key(each) == lowest])


_BY_NUMBERS: Final[Mapping[str, Callable[[Sequence[Candidate], random.Random], Candidate]]] = {
    "peak_ewma": _peak_ewma,
    "least_in_flight": _least_in_flight,
    "weighted": _weighted,
    "cheapest": _cheapest,
    "lowest_ttft": _lowest_ttft,
    "prefix_affinity": _peak_ewma,
}
STRATEGIES: Final = frozenset(_BY_NUMBERS)


def load_bounds(candidates: Sequence[Candidate]) -> dict[str, int]:
    """Return by name how many calls each may have under way once the next has begun: 1.25 × its share by weight, rounded up."""
    coming = sum(each.in_flight for each in candidates) + 1
    whole = sum(max(each.weight, 1e-9) for each in candidates)
    return {each.name: math.ceil(LOAD_BOUND * coming * max(each.weight, 1e-9) / whole) for each in candidates}


def _on_ring(candidates: Sequence[Candidate], prefix: bytes) -> Candidate:
    by_name = {each.name: each for each in candidates}
    bounds = load_bounds(candidates)
    with_room = None
    for name in _walk(tuple(sorted(by_name)), prefix):
        candidate = by_name[name]
        if candidate.has_room:
            if candidate.in_flight < bounds[name]:
                return candidate
            with_room = with_room or candidate
    # All that are within their bound are full: rather the next with room, else the prefix's own place.
    return with_room or by_name[next(_walk(tuple(sorted(by_name)), prefix))]


def _walk(names: tuple[str, ...], prefix: bytes) -> Iterator[str]:
    """Every name once, in the order in which the ring is met from the place of `prefix` on."""
    places, owners = _ring(names)
    start = bisect.bisect(places, _place(prefix))
    seen = set()
    for step in range(len(owners)):
        owner = owners[(start + step) % len(owners)]
        if owner not in seen:
            seen.add(owner)
            yield owner
            if len(seen) == len(names):
                return


@functools.lru_cache(maxsize=256)
def _ring(names: tuple[str, ...]) -> tuple[list[int], list[str]]:
    # A point depends on its own name alone: who comes or goes moves only the keys next to its points.
    points = sorted((_place(f"{name}\0{number}".encode()), name) for name in names for number in range(_POINTS))
    return [place for place, _ in points], [name for _, name in points]


def _place(key: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big")


class PeakEwma:
    """A latency that rises with its peaks at once and falls slowly: an exponentially weighted mean after Finagle's peak EWMA.

    A failure ought to be observed as at least what a good answer takes; otherwise who fails fast looks quick.
    """

    __slots__ = ("_at", "_decay_s", "_value")

    def __init__(self, decay_s: float = 10.0) -> None:
        self._decay_s = decay_s
        self._value = 0.0
        self._at = -math.inf

    def observe(self, ms: float, now: float) -> None:
        """A call took `ms`; `now` in seconds of any clock that does not go back."""
        ms = min(max(ms, 0.0), _MOST_MS)
        if ms >= self._value:
            self._value = ms
        else:
            kept = math.exp(-max(now - self._at, 0.0) / self._decay_s)
            self._value = self._value * kept + ms * (1.0 - kept)
        self._at = max(now, self._at)

    def value(self, now: float) -> float:
        """Milliseconds; 0 before the first observation, and towards 0 while nothing is observed, so that the slow are retried."""
        return self._value * math.exp(-max(now - self._at, 0.0) / self._decay_s)


def prefix_of(endpoint: str, body: Mapping[str, Any]) -> bytes | None:
    """Return what a request shares with others that could reuse its upstream cache, at most `PREFIX_BYTES`; None for nothing.

    The beginning of the system messages and of the first user turn: the same for all turns of one conversation, and for all
    requests whose beginnings differ only after that. Not the system messages alone: an application with more traffic than one
    replica may bear would be passed around, and its conversations with it; its system message is soon everywhere anyhow.
    A `prompt_cache_key` in the request says it better and wins.
    """
    key = body.get("prompt_cache_key")
    if isinstance(key, str) and key:
        return b"key\0" + key.encode(errors="surrogatepass")[: PREFIX_BYTES - 4]
    if endpoint == "/v1/chat/completions":
        system, first = _leading(body.get("messages"))
    elif endpoint == "/v1/responses":
        asked, told = body.get("input"), body.get("instructions")
        system, first = ([], [("user", asked)]) if isinstance(asked, str) else _leading(asked)
        system = [("system", told), *system]
    elif endpoint == "/v1/completions":
        system, first = [], [("prompt", body.get("prompt"))]
    else:
        return None
    return (_head(system) + _head(first)) or None


_Messages = Sequence[tuple[str, Any]]


def _leading(messages: Any) -> tuple[_Messages, _Messages]:
    """The system messages before the first turn, and what follows up to the end of the first user message."""
    system: list[tuple[str, Any]] = []
    first: list[tuple[str, Any]] = []
    for message in messages if isinstance(messages, list) else ():
        if not isinstance(message, Mapping) or len(system) + len(first) >= _MOST_MESSAGES:
            break
        role = str(message.get("role"))
        (system if role in _SYSTEM and not first else first).append((role, message.get("content")))
        if role == "user":
            break
    return system, first


def _head(messages: _Messages) -> bytes:
    """The first bytes of the messages; each may fill half of a prefix."""
    gathered = bytearray()
    for role, content in messages:
        for piece in _text(role, content) if content is not None else ():
            gathered += piece.encode(errors="surrogatepass")
            if len(gathered) >= PREFIX_BYTES // 2:
                return bytes(gathered[: PREFIX_BYTES // 2])
    return bytes(gathered)


def _text(role: str, content: Any) -> Iterator[str]:
    """The pieces of one message, with signs between them that keep "ab" + "c" and "a" + "bc" apart."""
    yield f"{role}\0"
    for part in content if isinstance(content, list) else (content,):
        text = part.get("text") if isinstance(part, Mapping) else part
        if isinstance(text, str):
            yield f"{text[:PREFIX_BYTES]}\1"
        else:
            yield from _trace(part, 3)


def _trace(part: Any, depth: int) -> Iterator[str]:
    """What tells an image or a file from others, without reading megabytes: how long its texts are, and how they end."""
    if isinstance(part, str):
        yield f"{len(part)}:{part[-_ENDING_CHARS:]}\1"
    elif isinstance(part, Mapping) and depth:
        for key, value in part.items():
            yield f"{key}\0"
            yield from _trace(value, depth - 1)
