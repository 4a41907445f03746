"""What near answers would have been worth: pairs of a kept answer and the one that came, and what they say of thresholds.

Pure.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

#: Pairs less near than this are not recorded.
FLOOR: Final = 0.5
#: Answers whose cosine is as high say the same; those that are equal letter by letter do anyway.
AGREES: Final = 0.9
_STEPS: Final = 20


@dataclass(frozen=True, slots=True)
class Bucket:
    """The pairs of one model whose similarity lies within one step of 0.05.

    Attributes:
        step: the lower bound, in steps.
        pairs: those that the guard lets pass: what would have been served.
        same: … whose answers are equal.
        agreeing: … whose answers are equal or nearly so.
        cosine: mean cosine of their answers; None where none have a text.
        refused: pairs that the guard refused.
        refused_same: … whose answers are equal or nearly so all the same: what the guard's strictness cost.
    """

    step: int
    pairs: int
    same: int
    agreeing: int
    cosine: float | None
    refused: int
    refused_same: int


def step_of(similarity: float) -> int:
    """Return the bucket of a similarity."""
    return max(0, min(_STEPS - 1, int(similarity * _STEPS + 1e-9)))


def told(buckets: Sequence[Bucket]) -> dict[str, Any]:
    """Return the report of one model: its buckets, and what each threshold would have served."""
    ordered = sorted(buckets, key=lambda bucket: bucket.step)
    return {
        "would_be_hits": sum(bucket.pairs for bucket in ordered),
        "refused_by_guard": sum(bucket.refused for bucket in ordered),
        "buckets": [_bucket(bucket) for bucket in ordered],
        "thresholds": [_served(ordered, bucket.step) for bucket in ordered],
    }


def _bucket(bucket: Bucket) -> dict[str, Any]:
    return {
        "from": bucket.step / _STEPS,
        "to": (bucket.step + 1) / _STEPS,
        "pairs": bucket.pairs,
        "same": bucket.same,
        "agreeing": bucket.agreeing,
        "agreement": _share(bucket.agreeing, bucket.pairs),
        "mean_answer_cosine": None if bucket.cosine is None else round(bucket.cosine, 4),
        "refused_by_guard": bucket.refused,
        "refused_agreeing": bucket.refused_same,
    }


def _served(buckets: Iterable[Bucket], step: int) -> dict[str, Any]:
    above = [bucket for bucket in buckets if bucket.step >= step]
    served = sum(bucket.pairs for bucket in above)
    agreeing = sum(bucket.agreeing for bucket in above)
    return {
        "threshold": step / _STEPS,
        "served": served,
        "agreeing": agreeing,
        "agreement": _share(agreeing, served),
    }


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def answer_text(endpoint: str, answer: Mapping[str, Any]) -> str:
    """Return what an answer says: the texts of its choices, and the calls that it makes; empty for what says nothing."""
    if endpoint == "/v1/responses":
        return "\n".join(text for item in _dicts(answer.get("output")) for text in _item(item))
    return "\n".join(text for choice in _dicts(answer.get("choices")) for text in _choice(choice))


def _choice(choice: Mapping[str, Any]) -> list[str]:
    message = choice.get("message")
    if not isinstance(message, Mapping):
        return _texts(choice.get("text"))
    calls = [call.get("function") for call in _dicts(message.get("tool_calls"))]
    return _texts(message.get("content")) + [
        text for call in calls if isinstance(call, Mapping) for text in _call(call)
    ]


def _item(item: Mapping[str, Any]) -> list[str]:
    if item.get("type") == "function_call":
        return _call(item)
    return [text for part in _dicts(item.get("content")) for text in _texts(part.get("text"))]


def _call(call: Mapping[str, Any]) -> list[str]:
    return [" ".join(_texts(call.get("name")) + _texts(call.get("arguments")))]


def _texts(value: Any) -> list[str]:
    return [value] if isinstance(value, str) and value else []


def _dicts(value: Any) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []
