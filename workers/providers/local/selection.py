"""Choosing sentences: each new one must be worth reading, say something new and give every part of the text its turn."""

from collections.abc import Callable

import numpy as np

from workers.providers.local.ranking import Floats, Ranked

# Two sentences more alike than this say the same thing.
REDUNDANT = 0.62
_SAME = 0.85
# The second sentence of a text often turns the first into its thesis.
_OPENING_GOES_ON = 1.4
_NEVER = -1e9
_COVERAGE_WEIGHT = 1.2
_CLUSTER_STEPS = 12
_ROOM_FOR_TWO = 5
_LEDE_PREFERENCE = np.asarray([1.3, 1.15, 1.0], dtype=np.float32)


def select(ranked: Ranked, count: int, fits: Callable[[list[int]], bool], checkpoint: Callable[[], None]) -> list[int]:
    """Positions of up to `count` sentences for a summary, in the text's order.

    `fits` tells whether a set of positions is still short enough. A sentence that leans on its predecessor is taken at full
    worth only once the predecessor is in; repetitions never are.
    """
    state = _Selection(ranked, count)
    rejected: set[int] = set()
    while len(state.chosen) < count:
        checkpoint()
        gains = state.gains()
        if not state.chosen and ranked.lede:
            gains = _only(gains, ranked.lede)
            gains[ranked.lede] *= _LEDE_PREFERENCE[: len(ranked.lede)]
        gains[list(rejected)] = _NEVER
        best = int(np.argmax(gains))
        if gains[best] <= _NEVER / 2:
            if not state.chosen and ranked.lede and rejected.issuperset(ranked.lede) and len(rejected) < len(gains):
                ranked.lede.clear()
                continue
            break
        if fits([*state.chosen, best]):
            state.take(best)
        else:
            rejected.add(best)
            if len(rejected) > 40:
                break
    return sorted(state.chosen)


def select_points(
    ranked: Ranked, count: int, fits: Callable[[list[int]], bool], checkpoint: Callable[[], None]
) -> list[int]:
    """Positions of up to `count` key points in the text's order: the best statement of each topic cluster."""
    labels = cluster(ranked, count)
    worth = ranked.score * np.asarray([_point_worth(ranked, index) for index in range(len(labels))], dtype=np.float32)
    chosen: list[int] = []
    # Strong clusters choose first, so that a weak one gives way when both would say the same.
    order = sorted(set(labels.tolist()), key=lambda label: -float(worth[labels == label].max()))
    for label in order:
        checkpoint()
        members = np.flatnonzero(labels == label)
        for index in members[np.argsort(-worth[members], kind="stable")][:12]:
            position = int(index)
            if chosen and ranked.similarity[position, chosen].max() > REDUNDANT:
                continue
            if fits([*chosen, position]):
                chosen.append(position)
                break
    _fill_up(ranked, worth, chosen, count, fits)
    return sorted(chosen)


def _fill_up(ranked: Ranked, worth: Floats, chosen: list[int], count: int, fits: Callable[[list[int]], bool]) -> None:
    """Add the best of the rest, where clusters had nothing new to say and the count isn't reached."""
    for index in np.argsort(-worth, kind="stable")[: 20 * count]:
        if len(chosen) >= count:
            return
        position = int(index)
        if position in chosen or (chosen and ranked.similarity[position, chosen].max() > REDUNDANT):
            continue
        if fits([*chosen, position]):
            chosen.append(position)


class _Selection:
    """The sentences chosen so far and what they already cover."""

    def __init__(self, ranked: Ranked, count: int) -> None:
        self._ranked = ranked
        self.chosen: list[int] = []
        size = len(ranked.sentences)
        self._worth = np.asarray([reading.worth for reading in ranked.readings], dtype=np.float32)
        # A sentence that continues a chosen one shares its words; that is no repetition.
        self._follows = np.zeros(size, dtype=np.bool_)
        self._closest = np.zeros(size, dtype=np.float32)
        self._covered = np.zeros(size, dtype=np.float32)
        self._weight = ranked.score.clip(0) / max(1e-6, float(ranked.score.clip(0).sum()))
        sections, counts = np.unique(ranked.section, return_counts=True)
        self._share: dict[int, float] = dict(zip(sections.tolist(), (counts * count / size).tolist(), strict=True))
        self._room_for_two = count >= _ROOM_FOR_TWO and bool(ranked.lede)
        if self._room_for_two:
            # An introduction is a summary already: it may speak twice.
            opening = int(ranked.section[ranked.lede[0]])
            self._share[opening] = max(2.0, self._share[opening])
        self._taken: dict[int, int] = {}

    def gains(self) -> Floats:
        """What each sentence would add; the chosen and the redundant ones can't be the maximum."""
        coverage = np.maximum(self._ranked.similarity - self._covered[None, :], 0) @ self._weight
        if coverage.max() > 0:
            coverage = coverage / coverage.max()
        turns = {section: self._turn(section) for section in self._share}
        turn = np.asarray([turns[int(section)] for section in self._ranked.section], dtype=np.float32)
        closest = np.where(self._follows, 0.5 * self._closest, self._closest)
        gains: Floats = (self._ranked.score + _COVERAGE_WEIGHT * coverage) * self._worth * turn * (1 - closest)
        gains[closest > REDUNDANT] = _NEVER
        gains[self.chosen] = _NEVER
        return gains

    def _turn(self, section: int) -> float:
        """Falls once a section has had its share of the summary."""
        return 1.0 / (1.0 + max(0.0, self._taken.get(section, 0) + 1 - max(1.0, self._share[section])))

    def take(self, index: int) -> None:
        ranked = self._ranked
        self.chosen.append(index)
        section = int(ranked.section[index])
        self._taken[section] = self._taken.get(section, 0) + 1
        np.maximum(self._closest, ranked.similarity[index], out=self._closest)
        np.maximum(self._covered, ranked.similarity[index], out=self._covered)
        follower = index + 1
        if follower < len(ranked.sentences) and ranked.sentences[follower].block == ranked.sentences[index].block:
            self._follows[follower] = ranked.similarity[index, follower] < _SAME
            opening = self._room_for_two and len(self.chosen) == 1
            self._worth[follower] = ranked.readings[follower].worth_after * (_OPENING_GOES_ON if opening else 1.0)


def cluster(ranked: Ranked, count: int) -> np.typing.NDArray[np.int64]:
    """A topic number (0 … count−1 at most) for each sentence: k-means started from consecutive stretches of the text.

    Position is a feature besides meaning, so topics stay local and cover the document; no randomness is involved.
    """
    size = len(ranked.sentences)
    count = max(1, min(count, size))
    place = np.arange(size, dtype=np.float32) / max(1, size - 1)
    section = ranked.section / max(1, int(ranked.section.max()))
    where = np.stack([place, 0.7 * section], axis=1).astype(np.float32) * 3.0
    points = np.concatenate([ranked.features, where], axis=1)
    labels = (np.arange(size) * count // size).astype(np.int64)
    for _ in range(_CLUSTER_STEPS):
        used = np.unique(labels)
        centres = np.stack([points[labels == label].mean(axis=0) for label in used])
        distance = (centres**2).sum(axis=1)[None, :] - 2 * points @ centres.T
        moved = used[np.argmin(distance, axis=1)]
        if np.array_equal(moved, labels):
            break
        labels = moved
    return labels


def _point_worth(ranked: Ranked, index: int) -> float:
    """A key point should be short."""
    reading = ranked.readings[index]
    return reading.worth * max(0.5, 1 - max(0, reading.words - 26) / 40)


def _only(gains: Floats, allowed: list[int]) -> Floats:
    kept = np.full_like(gains, _NEVER)
    kept[allowed] = gains[allowed]
    return kept
