"""The states of a job and the moves between them. ``docs/lifecycle.md`` draws this table; a test compares the two."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class Status(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class Move(StrEnum):
    """A named change of state; each is one guarded UPDATE somewhere in ``core.store``."""

    CLAIM = "claim"
    SUCCEED = "succeed"
    FAIL = "fail"
    RETRY = "retry"
    HAND_BACK = "hand_back"
    LOSE = "lose"
    CANCEL = "cancel"
    EXPIRE = "expire"
    RESUBMIT = "resubmit"


TERMINAL: Final = frozenset({Status.SUCCEEDED, Status.FAILED, Status.CANCELLED, Status.EXPIRED})

#: move -> (states it may start from, state it leads to)
MOVES: Final[Mapping[Move, tuple[frozenset[Status], Status]]] = MappingProxyType(
    {
        Move.CLAIM: (frozenset({Status.QUEUED}), Status.RUNNING),
        Move.SUCCEED: (frozenset({Status.RUNNING}), Status.SUCCEEDED),
        Move.FAIL: (frozenset({Status.RUNNING}), Status.FAILED),
        Move.RETRY: (frozenset({Status.RUNNING}), Status.QUEUED),
        Move.HAND_BACK: (frozenset({Status.RUNNING}), Status.QUEUED),
        Move.LOSE: (frozenset({Status.RUNNING}), Status.QUEUED),
        Move.CANCEL: (frozenset({Status.QUEUED, Status.RUNNING}), Status.CANCELLED),
        Move.EXPIRE: (frozenset({Status.QUEUED}), Status.EXPIRED),
        Move.RESUBMIT: (frozenset({Status.FAILED, Status.CANCELLED, Status.EXPIRED}), Status.QUEUED),
    }
)


def is_terminal(status: Status) -> bool:
    """Tell whether nothing but the retry call can move the job on."""
    return status in TERMINAL


def may(move: Move, status: Status) -> bool:
    """Tell whether ``move`` may start from ``status``."""
    return status in MOVES[move][0]
