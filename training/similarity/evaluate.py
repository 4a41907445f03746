"""`python -m training.similarity.evaluate`: how well the semantic cache tells questions with one answer from all others.

Reads `pairs.jsonl`, embeds with wordllama, asks the guard, writes `report.md`; 1 when a goal is missed. What is held out is
decided by a hash of the texts. With `--misses` the pairs of the other part that were judged wrong are printed, and nothing
is written.
"""

import argparse
import hashlib
import json
import math
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from core.embedding import shared_embedder
from policies.likeness import THRESHOLDS, differs, near

HERE: Final = Path(__file__).parent
PRECISION_GOAL: Final = 0.99
RECALL_GOAL: Final = 0.40
_HELD_OUT: Final = 85  # of 256: a third
_CURVE: Final = (0.0, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.98)
_SAME: Final = ("rewording", "synonym", "typo", "paraphrase")


@dataclass(frozen=True, slots=True)
class Pair:
    """Two questions, and whether one answer serves both."""

    a: str
    b: str
    same: bool
    kind: str
    language: str

    @property
    def held_out(self) -> bool:
        """Whether it is never looked at while the guard is written: that depends on its texts alone."""
        return hashlib.sha256(f"{self.a}\n{self.b}".encode()).digest()[0] < _HELD_OUT


@dataclass(frozen=True, slots=True)
class Judged:
    """A pair, how close its vectors are, and what the guard said."""

    pair: Pair
    similarity: float
    guard: str | None

    def hit(self, threshold: float, *, guarded: bool = True) -> bool:
        """Whether the cache would answer one with the answer to the other."""
        return near(self.similarity, threshold, self.guard if guarded else None)


@dataclass(frozen=True, slots=True)
class Score:
    """Counts of hits and of what should have been hits."""

    hits: int
    right: int
    same: int

    @property
    def precision(self) -> float:
        """The share of hits that were right; nan without hits."""
        return self.right / self.hits if self.hits else math.nan

    @property
    def recall(self) -> float:
        """The share of pairs with one answer that were hits; nan without such pairs."""
        return self.right / self.same if self.same else math.nan

    @property
    def reached(self) -> bool:
        """Whether both goals are reached."""
        return self.precision >= PRECISION_GOAL and self.recall >= RECALL_GOAL

    def cells(self) -> str:
        """Return precision and recall as cells of a table."""
        return f"{_shown(self.precision)} | {_shown(self.recall)}"


def read_pairs(path: Path = HERE / "pairs.jsonl") -> list[Pair]:
    """All labelled pairs."""
    return [Pair(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def judge(pairs: Sequence[Pair]) -> list[Judged]:
    """Embed the pairs and ask the guard."""
    ones = shared_embedder().embed([pair.a for pair in pairs]).vectors
    others = shared_embedder().embed([pair.b for pair in pairs]).vectors
    similarities = (ones * others).sum(axis=1)
    return [
        Judged(pair, float(similarity), differs(pair.a, pair.b))
        for pair, similarity in zip(pairs, similarities, strict=True)
    ]


def score(judged: Sequence[Judged], threshold: float, *, guarded: bool = True) -> Score:
    """Count hits at a threshold."""
    hits = [each for each in judged if each.hit(threshold, guarded=guarded)]
    return Score(len(hits), sum(each.pair.same for each in hits), sum(each.pair.same for each in judged))


def report(judged: Sequence[Judged], threshold: float) -> str:
    """Return the page, in Markdown."""
    held_out = [each for each in judged if each.pair.held_out]
    seen = [each for each in judged if not each.pair.held_out]
    whole, kept = score(judged, threshold), score(held_out, threshold)
    same = sum(each.pair.same for each in judged)
    lines = [
        "# How well the semantic cache tells questions apart",
        "",
        "Written by `python -m training.similarity.evaluate`: wordllama vectors, the guard of `policies/likeness`, default",
        f"threshold {threshold:g}. {len(judged)} pairs, {same} of them with one answer; {len(held_out)} are held out, by a hash",
        "of their texts: the guard was written looking at the others. Pairs and guard have the same author, and so few hits",
        "without an error do not prove that there is none in a hundred; questions said in wholly other words (kind `paraphrase`)",
        "are mostly missed. What it is worth on one's own traffic, the shadow mode tells.",
        "",
        (
            f"**Precision {_shown(whole.precision)} at recall {_shown(whole.recall)}**, held out "
            f"**{_shown(kept.precision)} at {_shown(kept.recall)}** (goal: {PRECISION_GOAL:.0%} at {RECALL_GOAL:.0%})."
        ),
        "",
        *_parts({"all": judged, "held out": held_out, "looked at": seen}, threshold),
        *_kinds(judged, threshold),
        *_languages(judged, threshold),
        *_curve("All pairs", judged),
        *_curve("The held-out third", held_out),
        *_reasons(judged),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _shown(share: float) -> str:
    return "–" if math.isnan(share) else f"{share:.1%}"


def _parts(parts: dict[str, Sequence[Judged]], threshold: float) -> list[str]:
    rows = []
    for name, judged in parts.items():
        found = score(judged, threshold)
        rows.append(
            f"| {name} | {len(judged)} | {found.same} | {found.hits} | {found.hits - found.right} | {found.cells()} |"
        )
    return [
        "| part | pairs | one answer | hits | wrong hits | precision | recall |",
        "|---|--:|--:|--:|--:|--:|--:|",
        *rows,
        "",
    ]


def _groups(judged: Sequence[Judged], of: Callable[[Pair], str]) -> dict[str, list[Judged]]:
    groups: dict[str, list[Judged]] = {}
    for each in judged:
        groups.setdefault(of(each.pair), []).append(each)
    return dict(sorted(groups.items()))


def _kinds(judged: Sequence[Judged], threshold: float) -> list[str]:
    kinds = _groups(judged, lambda pair: pair.kind)
    lines = ["## By kind", "", "| kind | pairs | hits | hits by vectors alone |", "|---|--:|--:|--:|"]
    ordered = [*_SAME, *(kind for kind in kinds if kind not in _SAME)]
    for kind in ordered:
        found, alone = score(kinds[kind], threshold), score(kinds[kind], threshold, guarded=False)
        wanted = " (should be)" if kind in _SAME else ""
        lines.append(f"| {kind}{wanted} | {len(kinds[kind])} | {found.hits} | {alone.hits} |")
    return [*lines, ""]


def _languages(judged: Sequence[Judged], threshold: float) -> list[str]:
    lines = ["## By language", "", "| language | pairs | hits | precision | recall |", "|---|--:|--:|--:|--:|"]
    for language, group in _groups(judged, lambda pair: "across" if "-" in pair.language else pair.language).items():
        found = score(group, threshold)
        lines.append(f"| {language} | {len(group)} | {found.hits} | {found.cells()} |")
    return [*lines, ""]


def _curve(title: str, judged: Sequence[Judged]) -> list[str]:
    lines = [
        f"## {title}, by threshold",
        "",
        "| threshold | precision | recall | precision without guard | recall without guard |",
        "|--:|--:|--:|--:|--:|",
    ]
    for threshold in _CURVE:
        guarded, alone = score(judged, threshold), score(judged, threshold, guarded=False)
        lines.append(f"| {threshold:g} | {guarded.cells()} | {alone.cells()} |")
    return [*lines, ""]


def _reasons(judged: Sequence[Judged]) -> list[str]:
    right = Counter(each.guard for each in judged if each.guard and not each.pair.same)
    wrong = Counter(each.guard for each in judged if each.guard and each.pair.same)
    lines = ["## What the guard said", "", "| reason | rightly | wrongly |", "|---|--:|--:|"]
    lines += [f"| {reason} | {right[reason]} | {wrong[reason]} |" for reason, _ in (right + wrong).most_common()]
    return [*lines, ""]


def _print_misses(judged: Sequence[Judged], threshold: float) -> None:
    for each in judged:
        if each.hit(threshold) != each.pair.same and not each.pair.held_out:
            pair = each.pair
            sys.stdout.write(f"{pair.kind} {each.guard} {each.similarity:.2f}: {pair.a} | {pair.b}\n")


def main() -> int:
    """Evaluate and write the report."""
    parser = argparse.ArgumentParser(prog="python -m training.similarity.evaluate")
    parser.add_argument("--misses", action="store_true", help="print what was judged wrong outside the held-out part")
    options = parser.parse_args()
    judged, threshold = judge(read_pairs()), THRESHOLDS["wordllama"]
    if options.misses:
        _print_misses(judged, threshold)
        return 0
    (HERE / "report.md").write_text(report(judged, threshold), encoding="utf-8")
    parts = (judged, [each for each in judged if each.pair.held_out])
    return 0 if all(score(part, threshold).reached for part in parts) else 1


if __name__ == "__main__":
    sys.exit(main())
