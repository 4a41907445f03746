"""How a job uses caches, and which answers are whole enough to be kept. Pure."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, Self

from policies.cache_keys import cacheable, self_contained

_CHAT: Final = "/v1/chat/completions"
_COMPLETIONS: Final = "/v1/completions"
_RESPONSES: Final = "/v1/responses"
#: What a model or key may say of jobs that do not say it themselves: cache where answers are not meant to vary, always, never.
RULE_MODES: Final = ("default", "always", "off")
#: Whether near questions share answers; `shadow` only records what would have been served.
SEMANTIC_MODES: Final = ("off", "on", "shadow")
_LISTS: Final[Mapping[str, str]] = {"/v1/embeddings": "data", "/v1/moderations": "results", "/v1/rerank": "results"}
_ENDPOINTS: Final = frozenset({_CHAT, _COMPLETIONS, _RESPONSES, *_LISTS})
_WHOLE: Final = frozenset({"stop", "tool_calls", "function_call"})
# A limit that the request names is part of its key: an answer that ends there is the whole answer to it. One that an upstream
# sets on its own is not, because another upstream would have said more. A plain completion has a documented limit of 16.
_OUTPUT_LIMITS: Final[Mapping[str, tuple[str, ...]]] = {
    _CHAT: ("max_completion_tokens", "max_tokens"),
    _RESPONSES: ("max_output_tokens",),
}


@dataclass(frozen=True, slots=True)
class CacheRules:
    """What a model of the catalog, or an API key, asks of caches for jobs that do not say it themselves. None: nothing is said.

    Attributes:
        mode: one of `RULE_MODES`.
        ttl_s: how long answers are kept, in seconds.
        semantic: one of `SEMANTIC_MODES`.
        threshold: the least similarity of a near hit, 0 to 1.
    """

    mode: str | None = None
    ttl_s: float | None = None
    semantic: str | None = None
    threshold: float | None = None

    @classmethod
    def of(cls, told: Mapping[str, Any] | None) -> Self:
        """Return the rules in what `told` returned; members that are not known here are passed over."""
        known = {each.name for each in fields(cls)}
        return cls(**{name: value for name, value in (told or {}).items() if name in known})

    def told(self) -> dict[str, Any] | None:
        """Return what is said, as JSON has it; None where nothing is."""
        return {name: value for name, value in asdict(self).items() if value is not None} or None

    def over(self, other: "CacheRules") -> "CacheRules":
        """Return these rules, and the other's where these say nothing."""
        if NO_RULES in (self, other):
            return other if self == NO_RULES else self
        return CacheRules.of({**(other.told() or {}), **(self.told() or {})})


NO_RULES: Final = CacheRules()


@dataclass(frozen=True, slots=True)
class CachePlan:
    """What caches are to do for a job.

    Attributes:
        look: an entry answers it.
        keep: its answer is kept.
        only: without an entry it is refused.
        ttl_s: how long its answer is kept, in seconds; None leaves that to the setting.
        semantic: one of `SEMANTIC_MODES`.
        threshold: the least similarity of a near hit; None leaves that to the embedder.
    """

    look: bool = False
    keep: bool = False
    only: bool = False
    ttl_s: float | None = None
    semantic: str = "off"
    threshold: float | None = None

    @property
    def shares(self) -> bool:
        """Whether identical jobs in flight may share one upstream call."""
        return self.look and self.keep and not self.only

    @property
    def status(self) -> str:
        """What `cache.status` says when the upstream answered."""
        if self.look:
            return "miss"
        return "refreshed" if self.keep else "bypass"


NO_CACHE: Final = CachePlan()


def cache_plan(
    options: Mapping[str, Any] | None, endpoint: str, body: Mapping[str, Any], rules: CacheRules = NO_RULES
) -> CachePlan:
    """Return what caches are to do. The request decides, then its key, then its model.

    Args:
        options: the job's `cache`, None when it has none. Having one, of whatever mode but `off`, asks for caching also where
            answers are meant to vary.
        endpoint: such as `/v1/chat/completions`.
        body: the request.
        rules: its key's over its model's.
    """
    asked: Mapping[str, Any] = options or {}
    mode = asked.get("mode", "default")
    able = endpoint in _ENDPOINTS and self_contained(endpoint, body)
    semantic, threshold = _semantic(asked, rules) if able else ("off", None)
    if mode == "only":
        return CachePlan(look=able, only=True, semantic=semantic, threshold=threshold)
    if mode == "off" or not able or (options is None and not _unasked(rules.mode, endpoint, body)):
        return NO_CACHE
    ttl_s = asked.get("ttl_s") or rules.ttl_s
    return CachePlan(look=mode != "refresh", keep=True, ttl_s=ttl_s, semantic=semantic, threshold=threshold)


def _unasked(mode: str | None, endpoint: str, body: Mapping[str, Any]) -> bool:
    """Whether caches serve a request that says nothing about them."""
    return mode != "off" and (mode == "always" or cacheable(endpoint, body))


def _semantic(asked: Mapping[str, Any], rules: CacheRules) -> tuple[str, float | None]:
    wanted = asked.get("semantic")
    semantic = (rules.semantic or "off") if wanted is None else ("on" if wanted else "off")
    threshold = asked.get("threshold")
    return semantic, None if semantic == "off" else rules.threshold if threshold is None else threshold


def complete(endpoint: str, request: Mapping[str, Any], answer: Mapping[str, Any]) -> bool:
    """Tell whether an answer is a whole success: no error, not filtered or refused, cut short by nothing but the request.

    Args:
        endpoint: such as `/v1/chat/completions`.
        request: the body that was sent.
        answer: the assembled, non-stream body that came back.
    """
    if answer.get("error"):
        return False
    if endpoint == _RESPONSES:
        return _complete_response(request, answer)
    if endpoint in _LISTS:
        return _is_full_list(answer.get(_LISTS[endpoint]))
    choices = answer.get("choices")
    return _is_full_list(choices) and all(_complete_choice(endpoint, request, choice) for choice in choices or ())


def _is_full_list(value: Any) -> bool:
    return isinstance(value, list) and bool(value)


def _complete_choice(endpoint: str, request: Mapping[str, Any], choice: Any) -> bool:
    if not isinstance(choice, dict):
        return False
    message = choice.get("message")
    if endpoint == _CHAT and (not isinstance(message, dict) or message.get("refusal")):
        return False
    reason = choice.get("finish_reason")
    return reason in _WHOLE or (reason == "length" and _asked_to_stop(endpoint, request))


def _complete_response(request: Mapping[str, Any], answer: Mapping[str, Any]) -> bool:
    output = answer.get("output")
    if not _is_full_list(output) or any(_refuses(item) for item in output or ()):
        return False
    if answer.get("status") == "completed":
        return True
    details = answer.get("incomplete_details")
    cut = isinstance(details, dict) and details.get("reason") == "max_output_tokens"
    return answer.get("status") == "incomplete" and cut and _asked_to_stop(_RESPONSES, request)


def _refuses(item: Any) -> bool:
    content = item.get("content") if isinstance(item, dict) else None
    return isinstance(content, list) and any(
        isinstance(part, dict) and part.get("type") == "refusal" for part in content
    )


def _asked_to_stop(endpoint: str, request: Mapping[str, Any]) -> bool:
    return endpoint == _COMPLETIONS or any(request.get(name) is not None for name in _OUTPUT_LIMITS.get(endpoint, ()))
