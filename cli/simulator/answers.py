"""Answers that depend only on the seed and the request, so that a test can ask twice and compare."""

import base64
import hashlib
import math
import re
from array import array
from dataclasses import dataclass
from typing import Any

import orjson

_WORDS = (
    "a queue keeps the order of work while many hands take turns and every ticket finds its coat again because "
    "each answer is stored once before it is announced so nothing that was accepted can be lost on the way"
).split()

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as far as answers need it."""

    endpoint: str
    body: Json
    sim: Json
    model: str
    number: int
    created: int
    tokens: int
    seed: int


def prompt_of(endpoint: str, body: Json) -> str:
    """The text that the answer depends on."""
    source = body.get("messages") if endpoint == "/v1/chat/completions" else body.get("prompt", body.get("input"))
    return source if isinstance(source, str) else orjson.dumps(source).decode()


def items_in(endpoint: str, body: Json) -> list[Any]:
    """What the cost model counts: inputs, documents, prompts; one thing where an endpoint has no such list."""
    if endpoint == "/v1/rerank":
        source = body.get("documents")
    elif endpoint == "/v1/completions":
        source = body.get("prompt")
    elif endpoint in ("/v1/embeddings", "/v1/moderations"):
        source = body.get("input")
    else:
        return [body]
    return source if isinstance(source, list) and source and not isinstance(source[0], int) else [source]


def answer_length(seed: int, prompt: str) -> int:
    """How many tokens the answer to a prompt has where the model has no fixed length: more for a longer prompt, up to 600."""
    digest = hashlib.blake2b(f"{seed}:length:{prompt}".encode("utf-8", "surrogatepass"), digest_size=1).digest()
    return int((40 + min(440, 2 * token_count(prompt))) * (0.75 + digest[0] / 512))


def token_count(text: str) -> int:
    """A rough count: a token is four characters."""
    return max(1, (len(text) + 3) // 4)


def words(asked: Asked, choice: int = 0) -> list[str]:
    """The tokens of a text answer, spaces included; the first is always the label `[sim]`."""
    if "text" in asked.sim:
        return ["[sim]", *re.findall(r"\s*\S+", " " + str(asked.sim["text"]))]
    prompt = prompt_of(asked.endpoint, asked.body)
    digest = hashlib.blake2b(f"{asked.seed}:{choice}:{prompt}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    state = int.from_bytes(digest, "big")
    tokens = ["[sim]", " " + digest.hex()[:8]]
    for _ in range(asked.tokens - 2):
        state = (state * 6364136223846793005 + 1442695040888963407) & 0xFFFFFFFFFFFFFFFF
        tokens.append(" " + _WORDS[(state >> 33) % len(_WORDS)])
    return tokens[: max(1, asked.tokens)]


def text_usage(asked: Asked, completion: int) -> Json:
    """Usage in the form of chat and completions."""
    prompt = token_count(prompt_of(asked.endpoint, asked.body))
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": int(asked.sim.get("cached_tokens", 0))},
    }


def embeddings(asked: Asked) -> Json:
    """Unit vectors, equal for equal texts."""
    source = asked.body.get("input")
    inputs = source if isinstance(source, list) and not (source and isinstance(source[0], int)) else [source]
    size = int(asked.body.get("dimensions") or 64)
    as_base64 = asked.body.get("encoding_format") == "base64"
    data: list[Json] = []
    for index, item in enumerate(inputs):
        vector = _vector(asked.seed, item if isinstance(item, str) else repr(item), size)
        value: Any = base64.b64encode(array("f", vector).tobytes()).decode() if as_base64 else vector
        data.append({"object": "embedding", "index": index, "embedding": value})
    if asked.sim.get("malformed") == "shuffled":
        data.reverse()
    elif asked.sim.get("malformed") == "missing_item":
        data.pop()
    tokens = sum(token_count(item) if isinstance(item, str) else 1 for item in inputs)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": asked.model, "usage": usage}


def _vector(seed: int, text: str, size: int) -> list[float]:
    raw = hashlib.shake_128(f"{seed}:{text}".encode("utf-8", "surrogatepass")).digest(2 * size)
    numbers = array("h", raw)
    length = math.sqrt(sum(number * number for number in numbers)) or 1.0
    return [number / length for number in numbers]


def moderations(asked: Asked) -> Json:
    """Flagged is what holds the word `flagme`."""
    source = asked.body.get("input")
    inputs = source if isinstance(source, list) else [source]
    results = []
    for item in inputs:
        flagged = "flagme" in str(item)
        scores = {"harassment": 0.98 if flagged else 0.01, "violence": 0.01}
        results.append(
            {"flagged": flagged, "categories": {"harassment": flagged, "violence": False}, "category_scores": scores}
        )
    return {"id": f"modr-sim-{asked.number}", "model": asked.model, "results": results}


def rerank(asked: Asked) -> Json:
    """Documents by the share of the query's words that they hold, best first."""
    query = set(re.findall(r"\w+", str(asked.body.get("query")).lower()))
    results: list[Json] = []
    for index, document in enumerate(asked.body.get("documents") or []):
        text = document if isinstance(document, str) else str(document.get("text"))
        found = query & set(re.findall(r"\w+", text.lower()))
        result: Json = {"index": index, "relevance_score": round(len(found) / max(1, len(query)), 6)}
        if asked.body.get("return_documents"):
            result["document"] = {"text": text}
        results.append(result)
    results.sort(key=lambda result: (-result["relevance_score"], result["index"]))
    top = int(asked.body.get("top_n") or len(results))
    tokens = token_count(orjson.dumps(asked.body.get("documents")).decode())
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"id": f"rerank-sim-{asked.number}", "model": asked.model, "results": results[:top], "usage": usage}
