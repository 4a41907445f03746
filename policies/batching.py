"""Which jobs may share one upstream call, the call that they share, and how its answer is taken apart again. Pure.

Jobs share a call when everything but their items is equal. Answers are mapped back by index (moderations, which have none, by
position), and an answer that does not hold exactly what was asked for is refused as a whole: `Unsplittable`.

The usage of a shared call is known only for the whole. It is split in proportion to estimated tokens, in whole numbers that add
up to exactly what the upstream reported: a job's own part is an estimate, the sum is not.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

Json = dict[str, Any]

_ITEMS: Final[Mapping[str, str]] = {
    "/v1/embeddings": "input",
    "/v1/moderations": "input",
    "/v1/completions": "prompt",
    "/v1/rerank": "documents",
}
# Whatever else an answer says of the whole call may quote the items of other jobs, and is left out.
_HEAD: Final = ("id", "object", "created", "model", "system_fingerprint", "service_tier", "provider")
# Not part of what must be equal: the provider sets the model, and there is no stream.
_IGNORED: Final = frozenset({"model", "stream", "stream_options"})
_OUTPUT: Final = re.compile(r"completion|output")
# Codes that speak of the request, so that one job's part of it may be to blame; or of an answer that one odd item may have
# spoilt. Where it was none of them, asking again in halves costs at most twice the calls that the jobs would have made alone.
_BLAMING: Final = frozenset(
    {"invalid_request", "context_length_exceeded", "content_refused", "reply_too_large", "bad_reply"}
)
# A request that is wrong for everybody: the path does not exist there.
_FOR_ALL: Final = frozenset({404, 405, 410})


class Unsplittable(ValueError):
    """An answer to a shared call that cannot be mapped to its items. The message is safe to show."""


def merge_key(endpoint: str, body: Mapping[str, Any]) -> bytes | None:
    """Return what jobs that may share an upstream call have in common; None for a job that must have its own.

    Never shared: streams, several choices for a prompt (their indices mean different things to different servers), a `seed`
    (company would change what it promises to repeat), mixed lists, and inputs that are parts of one item (pictures).
    """
    field = _ITEMS.get(endpoint)
    if field is None or body.get("stream"):
        return None
    kind = _kind(body.get(field))
    if kind is None or not _MAY_SHARE[endpoint](kind, body):
        return None
    own = {field, *_IGNORED} | ({"top_n"} if endpoint == "/v1/rerank" else set())
    common = {name: value for name, value in body.items() if name not in own}
    return json.dumps([endpoint, kind, common], sort_keys=True, separators=(",", ":")).encode()


def _may_share_completion(kind: str, body: Mapping[str, Any]) -> bool:
    alone = body.get("seed") is not None or any(body.get(name) not in (None, 1) for name in ("n", "best_of"))
    return kind != "object" and not alone


def _may_share_rerank(kind: str, body: Mapping[str, Any]) -> bool:
    top_n = body.get("top_n")
    return kind != "tokens" and (top_n is None or (type(top_n) is int and top_n > 0))


_MAY_SHARE: Final[Mapping[str, Callable[[str, Mapping[str, Any]], bool]]] = {
    "/v1/embeddings": lambda kind, _: kind != "object",
    "/v1/moderations": lambda kind, _: kind == "text",
    "/v1/completions": _may_share_completion,
    "/v1/rerank": _may_share_rerank,
}


def items(endpoint: str, body: Mapping[str, Any]) -> int:
    """Return how many inputs, prompts or documents a request holds; 1 where there is no such list."""
    return len(_listed(endpoint, body))


def estimated_tokens(endpoint: str, body: Mapping[str, Any]) -> int:
    """Return about how many input tokens a request has: four bytes of text make one. At least 1 for each item."""
    shared = _tokens(body.get("query")) if endpoint == "/v1/rerank" else 0
    return sum(_tokens(item) + shared for item in _listed(endpoint, body))


def merge(endpoint: str, bodies: Sequence[Mapping[str, Any]]) -> Json:
    """Return the request that asks for what all of `bodies` ask for, in their order. Their `merge_key` is the same.

    A rerank asks for all scores, whatever each job's `top_n`.
    """
    merged = {name: value for name, value in bodies[0].items() if name not in ("stream", "stream_options")}
    merged.pop("top_n", None)
    merged[_ITEMS[endpoint]] = [item for body in bodies for item in _listed(endpoint, body)]
    return merged


def split(endpoint: str, reply: Mapping[str, Any], bodies: Sequence[Mapping[str, Any]]) -> list[Json]:
    """Return each job's answer from the answer to `merge(endpoint, bodies)`, with indices as if it had been alone.

    Raises:
        Unsplittable: the answer does not hold one part for each item.
    """
    sizes = [items(endpoint, body) for body in bodies]
    name, parts = _SPLITTERS[endpoint](reply, sizes, bodies)
    head = {member: reply[member] for member in _HEAD if member in reply}
    answers: list[Json] = [{**head, name: part} for part in parts]
    usage = reply.get("usage")
    if isinstance(usage, dict):
        asked = [estimated_tokens(endpoint, body) for body in bodies]
        made = [sum(_tokens(choice.get("text")) for choice in part) for part in parts] if name == "choices" else []
        for answer, share in zip(answers, split_usage(usage, asked, made), strict=True):
            answer["usage"] = share
    return answers


def split_usage(usage: Mapping[str, Any], asked: Sequence[int], made: Sequence[int] = ()) -> list[Json]:
    """Split token counts over jobs; each count adds up to the whole's again.

    Args:
        usage: the whole call's, in any API's names. What is not a whole number (or an object of such) is left out.
        asked: each job's weight of what went in.
        made: each job's weight of what came out; without it (or if all are 0), what came out is split by `asked`.
    """
    outgoing = made if any(made) else asked
    shares: list[Json] = [{} for _ in asked]
    for name, value in usage.items():
        weights = outgoing if _OUTPUT.search(name) else asked
        if isinstance(value, dict):
            # Details are parts of a count: split like it, no job's details exceed its count.
            counts = [share.get(name.removesuffix("_details")) for share in shares]
            if all(type(count) is int for count in counts) and any(counts):
                weights = [count or 0 for count in counts]
            parts: Sequence[Any] = split_usage(value, weights, weights)
        elif type(value) is int and value >= 0:
            parts = apportion(value, weights)
        else:
            continue
        for share, part in zip(shares, parts, strict=True):
            share[name] = part
    _keep_totals(usage, shares)
    return shares


def apportion(whole: int, weights: Sequence[int]) -> list[int]:
    """Split `whole` (≥ 0) in proportion to `weights` (≥ 0; all 0: equally), each part less than 1 off, the sum exact."""
    if not any(weights):
        weights = [1] * len(weights)
    total = sum(weights)
    parts = [whole * weight // total for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda index: (-(whole * weights[index] % total), index))
    for index in by_remainder[: whole - sum(parts)]:
        parts[index] += 1
    return parts


def fitting(sizes: Iterable[tuple[int, int]], most_items: int, most_tokens: int | None) -> int:
    """Return how many jobs from the front fit into one call; at least one, which may be too large by itself.

    Args:
        sizes: items and estimated tokens of each job.
        most_items: most items in the call.
        most_tokens: most estimated tokens in it; None: any number.
    """
    count = held = tokens = 0
    for size, weight in sizes:
        held, tokens = held + size, tokens + weight
        if count and (held > most_items or (most_tokens is not None and tokens > most_tokens)):
            break
        count += 1
    return count


def pack(sizes: Sequence[int], tokens: Sequence[int], most_items: int, most_tokens: int | None) -> list[range]:
    """Return how jobs are packed into calls, in their order: a range of positions for each call."""
    both = list(zip(sizes, tokens, strict=True))
    calls, start = [], 0
    while start < len(both):
        end = start + fitting(both[start:], most_items, most_tokens)
        calls.append(range(start, end))
        start = end
    return calls


def bisect(jobs: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any]]:
    """Split the jobs of a refused call in two: a single guilty one among n is alone after log2(n) rounds."""
    middle = (len(jobs) + 1) // 2
    return jobs[:middle], jobs[middle:]


def may_blame_one(code: str, status: int | None) -> bool:
    """Tell whether an error may be the doing of one job among several: it is about request or answer, not server, key or path."""
    return code in _BLAMING and status not in _FOR_ALL


def _kind(given: Any) -> str | None:
    """What the items are: lists of different kinds don't mix."""
    if isinstance(given, str):
        return "text"
    if not isinstance(given, list) or not given:
        return None
    if all(isinstance(item, str) for item in given):
        return "text"
    if _is_tokens(given) or all(isinstance(item, list) and item and _is_tokens(item) for item in given):
        return "tokens"
    return "object" if all(isinstance(item, dict) for item in given) else None


def _is_tokens(given: list[Any]) -> bool:
    return all(type(token) is int for token in given)


def _listed(endpoint: str, body: Mapping[str, Any]) -> list[Any]:
    given = body.get(_ITEMS.get(endpoint, ""))
    return given if isinstance(given, list) and not (given and type(given[0]) is int) else [given]


def _tokens(item: Any) -> int:
    if isinstance(item, list):
        return max(1, len(item))
    if not isinstance(item, str):
        item = "" if item is None else str(item)
    return max(1, (len(item) if item.isascii() else len(item.encode("utf-8", "surrogatepass"))) // 4)


def _keep_totals(usage: Mapping[str, Any], shares: list[Json]) -> None:
    """Where the whole's total is the sum of in and out, each job's total is the sum of its own."""
    for asked, made in (("prompt_tokens", "completion_tokens"), ("input_tokens", "output_tokens")):
        names = [name for name in (asked, made) if name in shares[0]]
        if names and "total_tokens" in shares[0] and usage["total_tokens"] == sum(usage[name] for name in names):
            for share in shares:
                share["total_tokens"] = sum(share[name] for name in names)
            return


_Parts = tuple[str, list[list[Json]]]


def _parts(reply: Mapping[str, Any], name: str, total: int) -> list[Json]:
    found = reply.get(name)
    if not isinstance(found, list) or len(found) != total or not all(isinstance(part, dict) for part in found):
        held = len(found) if isinstance(found, list) else 0
        raise Unsplittable(f"the reply to a shared call holds {held} {name} for {total} items")
    return found


def _by_index(reply: Mapping[str, Any], name: str, sizes: Sequence[int]) -> list[list[Json]]:
    """The parts of each job in the reply's order, their indices counted from the job's first item."""
    found = _parts(reply, name, sum(sizes))
    owners = [(job, place) for job, size in enumerate(sizes) for place in range(size)]
    indices = [part.get("index") for part in found]
    if not all(type(index) is int for index in indices) or set(indices) != set(range(len(owners))):
        raise Unsplittable(f"the reply to a shared call does not hold {name} for each of {len(owners)} items")
    parts: list[list[Json]] = [[] for _ in sizes]
    for part in found:
        job, place = owners[part["index"]]
        parts[job].append({**part, "index": place})
    return parts


def _numbered(name: str) -> "_Splitter":
    def split_numbered(reply: Mapping[str, Any], sizes: Sequence[int], _bodies: Sequence[Mapping[str, Any]]) -> _Parts:
        return name, [sorted(part, key=lambda one: int(one["index"])) for part in _by_index(reply, name, sizes)]

    return split_numbered


def _split_moderations(reply: Mapping[str, Any], sizes: Sequence[int], _bodies: Sequence[Mapping[str, Any]]) -> _Parts:
    left = iter(_parts(reply, "results", sum(sizes)))
    return "results", [[next(left) for _ in range(size)] for size in sizes]


def _split_rerank(reply: Mapping[str, Any], sizes: Sequence[int], bodies: Sequence[Mapping[str, Any]]) -> _Parts:
    """Best first, as the reply has them: the order among one job's documents does not depend on the others'."""
    found = _by_index(reply, "results", sizes)
    return "results", [part[: body.get("top_n")] for part, body in zip(found, bodies, strict=True)]


_Splitter = Callable[[Mapping[str, Any], Sequence[int], Sequence[Mapping[str, Any]]], _Parts]
_SPLITTERS: Final[Mapping[str, _Splitter]] = {
    "/v1/embeddings": _numbered("data"),
    "/v1/completions": _numbered("choices"),
    "/v1/moderations": _split_moderations,
    "/v1/rerank": _split_rerank,
}
