"""Where a call goes that failed: to another deployment of the model, to a fallback model, or nowhere. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

ErrorClass = Literal["overload", "context", "refused", "outage"]

_BY_CODE: Final[Mapping[str, ErrorClass]] = {
    "rate_limited": "overload",
    "context_length_exceeded": "context",
    "content_refused": "refused",
    "upstream_error": "outage",
    "upstream_timeout": "outage",
    "upstream_unreachable": "outage",
    "bad_reply": "outage",
    # Our key or our name for the model is wrong there: not the job's fault, and another deployment has its own.
    "unauthorized": "outage",
    "unknown_model": "outage",
}
_OVERLOADED: Final = frozenset({429, 503, 529})
_WORDS: Final[Mapping[ErrorClass, str]] = {
    "overload": "was overloaded",
    "context": "found the context too long",
    "refused": "refused the content",
    "outage": "failed",
}


def classify(code: str, upstream_status: int | None) -> ErrorClass | None:
    """Return the class of an error code; None when it is the job's own fault, or its time is up: no failover then."""
    found = _BY_CODE.get(code)
    return "overload" if found == "outage" and upstream_status in _OVERLOADED else found


class Target(Protocol):
    """What is needed of a `Deployment`."""

    @property
    def name(self) -> str: ...
    @property
    def context_length(self) -> int | None: ...


@dataclass(frozen=True, slots=True)
class Leg:
    """The next part of an attempt's way: a model, the deployments to choose from, and why, in words."""

    model: str
    deployments: tuple[str, ...]
    reason: str


class Plan:
    """The way of one attempt. It ends: no deployment is met twice.

    Args:
        model: what the job is routed to.
        fallbacks: the model's `RoutingPolicy.fallbacks`. Those of a fallback model are not followed.
        deployments: gives the deployments of a model that could serve this job (endpoint, capabilities), in catalog order.
    """

    __slots__ = ("_deployments", "_fallbacks", "_model", "_tried")

    def __init__(
        self, model: str, fallbacks: Mapping[str, Sequence[str]], deployments: Callable[[str], Sequence[Target]]
    ) -> None:
        self._model = model
        self._fallbacks = fallbacks
        self._deployments = deployments
        self._tried: dict[str, str] = {}

    @property
    def tried(self) -> tuple[str, ...]:
        """Names of the deployments that were called, in order."""
        return tuple(self._tried)

    def begin(self, deployment: str, model: str) -> None:
        """A call to this deployment of this model starts."""
        self._tried[deployment] = model

    def after(self, failed: str, error: ErrorClass, usable: Callable[[str], bool] = lambda _: True) -> Leg | None:
        """Return where to go after `failed` (a deployment's name) ended with this class of error; None for nowhere.

        `usable` says of a deployment whether it can be called now (breaker closed, room left); others are passed over.
        """
        present = self._tried.setdefault(failed, self._model)
        why = f"{failed} {_WORDS[error]}"
        same = self._better(present, present, failed, error, usable)
        if same:
            return Leg(present, same, f"{why}: another deployment of {present}")
        # Those of the chain that could not be called before may be able to now.
        for model in self._fallbacks.get(error, ()):
            others = self._better(model, present, failed, error, usable)
            if others:
                return Leg(model, others, f"{why}: fallback to {model}")
        return None

    def _better(
        self, model: str, present: str, failed: str, error: ErrorClass, usable: Callable[[str], bool]
    ) -> tuple[str, ...]:
        """Deployments of a model that were not tried and that could do better than the failed one."""
        if model == present and error == "refused":
            return ()
        targets = [each for each in self._deployments(model) if each.name not in self._tried and usable(each.name)]
        if error == "context":
            short = next((each.context_length for each in self._deployments(present) if each.name == failed), None)
            targets = [each for each in targets if _longer(each.context_length, short, unknown=model != present)]
        return tuple(each.name for each in targets)


def _longer(length: int | None, short: int | None, *, unknown: bool) -> bool:
    """Whether a window is longer than the one that was too short; `unknown` where the catalog doesn't say."""
    return unknown if length is None or short is None else length > short
