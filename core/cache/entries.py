"""An entry: a kept answer with what it cost, as bytes that say whose they are."""

import time
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any, Final, Self
from uuid import UUID

import orjson

_FORMAT: Final = 1
_KEY_BYTES: Final = 33
_HEAD: Final = 1 + 16 + _KEY_BYTES
#: A body of more bytes than this is compressed.
_WORTH_IT: Final = 1000
_LEVEL: Final = 1
_MOST_BYTES: Final = 64 * 2**20


class Damaged(ValueError):
    """The bytes are no entry, or one of another tenant or key."""


@dataclass(frozen=True, slots=True)
class About:
    """What invalidation looks at: which job's answer this is."""

    endpoint: str
    model: str
    schedule_id: str | None = None
    metadata: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """A kept answer.

    Attributes:
        result: the assembled, non-stream body, JSON text.
        usage: the tokens it took, as a job tells them; None when the upstream did not say.
        cost_usd: what it cost; None when nobody knows.
        took_ms: how long the upstream took.
        stored_at: seconds since the epoch.
        route: where the answer came from, as a job tells it.
        about: which job's answer it is.
    """

    result: str
    usage: Mapping[str, Any] | None
    cost_usd: Decimal | None
    took_ms: float
    stored_at: float
    route: Mapping[str, Any] | None
    about: About

    @property
    def age_s(self) -> float:
        """Seconds since it was stored."""
        return max(0.0, time.time() - self.stored_at)

    @property
    def saved(self) -> dict[str, Any]:
        """What whoever is answered from it is spared: tokens, USD as a decimal string, milliseconds."""
        return {
            "tokens": int((self.usage or {}).get("total_tokens") or 0),
            "usd": None if self.cost_usd is None else format(self.cost_usd, "f"),
            "ms": round(self.took_ms, 1),
        }

    def pack(self, tenant: UUID, key: bytes) -> bytes:
        """Return it as bytes for one tenant and key."""
        told = orjson.dumps(
            {
                "usage": self.usage,
                "usd": None if self.cost_usd is None else str(self.cost_usd),
                "ms": self.took_ms,
                "at": self.stored_at,
                "route": self.route,
                "about": asdict(self.about),
            }
        )
        payload = told + b"\n" + self.result.encode()
        squeezed = len(payload) > _WORTH_IT
        if squeezed:
            payload = zlib.compress(payload, _LEVEL)
        return bytes([_FORMAT]) + tenant.bytes + key + bytes([squeezed]) + payload

    @classmethod
    def unpack(cls, raw: bytes, tenant: UUID, key: bytes) -> Self:
        """Return the entry in `raw`.

        Raises:
            Damaged: when it is none of this tenant and key.
        """
        if raw[:_HEAD] != bytes([_FORMAT]) + tenant.bytes + key or len(raw) <= _HEAD:
            raise Damaged("not an entry of this tenant and key")
        try:
            payload = _inflate(raw[_HEAD + 1 :]) if raw[_HEAD] else raw[_HEAD + 1 :]
            told, _, result = payload.partition(b"\n")
            head = orjson.loads(told)
            cost = head["usd"]
            return cls(
                result.decode(), head["usage"], None if cost is None else Decimal(cost), head["ms"], head["at"],
                head["route"], About(**head["about"]),
            )  # fmt: skip
        except (zlib.error, ValueError, KeyError, TypeError, ArithmeticError) as error:
            raise Damaged(f"the entry cannot be read: {type(error).__name__}") from error


def _inflate(raw: bytes) -> bytes:
    inflater = zlib.decompressobj()
    payload = inflater.decompress(raw, _MOST_BYTES)
    if not inflater.eof:
        raise Damaged("the entry is cut off or too large")
    return payload
