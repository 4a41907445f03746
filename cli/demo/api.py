"""Calling the API as a customer would: plain HTTP, with the time that each call took."""

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

Json = dict[str, Any]

NDJSON = "application/x-ndjson"
_MILLISECONDS = 1000


class DemoFailed(Exception):
    """Something was not as the demo promises."""


def ensure(so: object, otherwise: str) -> None:
    """Raise DemoFailed unless it is so."""
    if not so:
        raise DemoFailed(otherwise)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of the API and how long it took."""

    status: int
    ms: float
    headers: Mapping[str, str]
    body: Json


class Api:
    """A server that speaks JSON: the API with a key, the simulator without."""

    def __init__(self, url: str, key: str = "") -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=75)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def post(self, path: str, body: object = None) -> Answer:
        """POST one JSON value."""
        return self._send("POST", path, json=body)

    def post_lines(self, path: str, requests: Iterable[object]) -> Answer:
        """POST one JSON value a line."""
        content = "\n".join(json.dumps(request) for request in requests)
        return self._send("POST", path, content=content, headers={"Content-Type": NDJSON})

    def get(self, path: str) -> Answer:
        """GET a path, or a whole URL that the API gave us."""
        return self._send("GET", path)

    def pages(self, path: str) -> Iterator[Json]:
        """All entries of a list, page by page. `path` has a query."""
        after = ""
        while True:
            page = self.get(f"{path}&limit=100{after}").body
            yield from page["data"]
            if not page["has_more"]:
                return
            after = f"&after={page['last_id']}"

    def _send(self, method: str, path: str, **content: Any) -> Answer:
        began = time.perf_counter()
        try:
            answer = self._http.request(method, path, **content)
        except httpx.HTTPError as error:
            raise DemoFailed(f"{method} {path}: no answer ({type(error).__name__}: {error})") from None
        ms = (time.perf_counter() - began) * _MILLISECONDS
        if answer.is_error:
            raise DemoFailed(f"{method} {path} was answered with {answer.status_code}: {answer.text[:300]}")
        return Answer(answer.status_code, ms, answer.headers, answer.json())


def accepted(answer: Answer) -> Json:
    """The object of a 202. Raises DemoFailed for any other answer."""
    ensure(answer.status == httpx.codes.ACCEPTED, f"expected a 202, got {answer.status}")
    return answer.body


def accepted_ms(answer: Answer) -> float:
    """The milliseconds that a 202 took. Raises DemoFailed for any other answer."""
    accepted(answer)
    return answer.ms


def chat(model: str, text: str, **more: Any) -> Json:
    """A job request: one user message for a chat model; `more` are members of the body."""
    body = {"model": model, "messages": [{"role": "user", "content": text}], **more}
    return {"endpoint": "/v1/chat/completions", "body": body}


def embedding(text: str) -> Json:
    """A job request: embed one text with the local model, on the bulk lane."""
    return {"endpoint": "/v1/embeddings", "lane": "bulk", "body": {"model": "local/embed", "input": text}}


def text_of(job: Json) -> str:
    """What the model of a chat job wrote. Raises DemoFailed unless the job succeeded."""
    ensure(job["status"] == "succeeded", f"{job['id']} is {job['status']}: {job['error']}")
    return str(job["result"]["choices"][0]["message"]["content"])


def passages(texts: Sequence[str], count: int, words: int) -> list[str]:
    """Cut `count` passages of `words` words each, evenly spaced over all texts; neighbours overlap."""
    flow = " ".join(texts).split()
    step = (len(flow) - words) / max(1, count - 1)
    return [" ".join(flow[int(number * step) : int(number * step) + words]) for number in range(count)]
