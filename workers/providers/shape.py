"""Whether a parsed body is an answer to what was asked, and what it says of its own usage."""

from typing import Any

from workers.providers.errors import in_band
from workers.providers.protocol import Usage
from workers.providers.reading import bad_reply

Json = dict[str, Any]

_LIST_OF = {
    "/v1/chat/completions": "choices",
    "/v1/completions": "choices",
    "/v1/embeddings": "data",
    "/v1/moderations": "results",
    "/v1/rerank": "results",
    "/v1/responses": "output",
}
_MAX_TOKENS = 2**53


def checked(endpoint: str, request: Json, body: Any, secret: str | None) -> Json:
    """`body` if it has the shape of the endpoint's answer; embeddings in the order of their inputs. Raises ProviderError."""
    if not isinstance(body, dict):
        raise bad_reply("the reply is not a JSON object")
    if body.get("error"):
        raise in_band(body["error"], secret)
    items = body.get(_LIST_OF[endpoint])
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise bad_reply(f"the reply has no list of {_LIST_OF[endpoint]}")
    if endpoint == "/v1/embeddings":
        body["data"] = _in_input_order(request.get("input"), items)
    elif endpoint in ("/v1/chat/completions", "/v1/completions") and not items:
        raise bad_reply("the reply has no choices")
    return body


def _in_input_order(given: Any, items: list[Json]) -> list[Json]:
    """Mapped by `index`, never by position: which vector belongs to which text must not depend on the server's order."""
    many = isinstance(given, list) and not (given and isinstance(given[0], int))
    wanted = len(given) if many else 1
    # A single item without an index can only belong to the single input.
    indices = [item.get("index", 0 if wanted == 1 else None) for item in items]
    if not all(type(index) is int for index in indices) or set(indices) != set(range(wanted)) or len(items) != wanted:
        raise bad_reply(f"the reply does not hold one embedding for each of {wanted} inputs")
    if indices == list(range(wanted)):
        return items
    return sorted(items, key=lambda item: int(item["index"]))


def usage_of(body: Json) -> Usage | None:
    """The upstream's token counts under either API's names; None if it gave none that make sense."""
    usage = body.get("usage")
    if not isinstance(usage, dict):
        return None
    given = _tokens(usage, "input_tokens", "prompt_tokens")
    made = _tokens(usage, "output_tokens", "completion_tokens")
    total = _tokens(usage, "total_tokens")
    if given is None and made is None and total is None:
        return None
    given = given if given is not None else max(0, (total or 0) - (made or 0))
    made = made or 0
    details = usage.get("input_tokens_details") or usage.get("prompt_tokens_details")
    cached = _tokens(details, "cached_tokens") if isinstance(details, dict) else None
    details = usage.get("output_tokens_details") or usage.get("completion_tokens_details")
    reasoning = _tokens(details, "reasoning_tokens") if isinstance(details, dict) else None
    return Usage(given, made, cached or 0, given + made if total is None else total, min(reasoning or 0, made))


def _tokens(source: Json, *names: str) -> int | None:
    for name in names:
        value = source.get(name)
        if type(value) is int and 0 <= value < _MAX_TOKENS:
            return value
    return None
