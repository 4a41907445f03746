"""Talking to the API from the command line: problems become one sentence, event streams become events."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx

from cli.errors import CliError
from cli.target import ApiTarget


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event of a job."""

    id: int
    type: str
    data: dict[str, Any]


class ApiRefusal(CliError):
    """The API answered with an error."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class ApiClient:
    """A connection to one API with one key. Every method raises CliError with the API's own words."""

    def __init__(self, target: ApiTarget) -> None:
        self._target = target
        self._http = httpx.Client(
            base_url=target.url,
            headers={"Authorization": f"Bearer {target.key}", "User-Agent": "coatcheck-cli"},
            timeout=httpx.Timeout(30, read=75),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._http.close()

    def call(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        query: Mapping[str, str | int | None] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Send one request and return the JSON object of the answer (empty for 204)."""
        params = {name: value for name, value in (query or {}).items() if value is not None}
        with self._reachable():
            answer = self._http.request(method, path, json=body, params=params, headers=headers)
        if answer.is_error:
            raise ApiRefusal(_problem(answer), answer.status_code)
        if not answer.content:
            return {}
        return self._object(answer.text)

    def events(self, job_id: str, after: int = 0) -> Iterator[Event]:
        """Follow a job's events from `after` to the end of the stream; reads on where a lost connection broke off."""
        seen, failures = after, 0
        while True:
            ended = False
            try:
                for event in self._stream(job_id, seen):
                    seen, failures = event.id, 0
                    ended = event.type in {"job.succeeded", "job.failed", "job.cancelled", "job.expired"}
                    yield event
                if ended:
                    return
            except httpx.TransportError as error:
                failures += 1
                if failures > 5:
                    raise CliError(f"the event stream of {job_id} keeps breaking off: {error}") from None

    def _stream(self, job_id: str, after: int) -> Iterator[Event]:
        path = f"/v1/jobs/{job_id}/events"
        with self._http.stream("GET", path, params={"after": after} if after else {}) as answer:
            if answer.is_error:
                answer.read()
                raise ApiRefusal(_problem(answer), answer.status_code)
            fields: dict[str, str] = {}
            for line in answer.iter_lines():
                name, _, value = line.partition(":")
                if line and name:
                    fields[name] = value.removeprefix(" ")
                elif not line and "data" in fields:
                    yield Event(int(fields.get("id", 0)), fields.get("event", ""), json.loads(fields["data"]))
                    fields = {}

    @contextlib.contextmanager
    def _reachable(self) -> Iterator[None]:
        try:
            yield
        except httpx.TimeoutException:
            raise CliError(f"{self._target.url} did not answer in time") from None
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise CliError(
                f"{self._target.url} can't be reached ({error}): is the stack running? `coatcheck up` starts one"
            ) from None

    def _object(self, text: str) -> dict[str, Any]:
        with contextlib.suppress(ValueError):
            found = json.loads(text)
            if isinstance(found, dict):
                return found
        raise CliError(f"{self._target.url} does not answer like a Coatcheck API; check --url")


def _problem(answer: httpx.Response) -> str:
    """The API's words about an error, with what is wrong where."""
    try:
        problem = answer.json()
        text = problem.get("detail") or problem.get("title") or f"status {answer.status_code}"
        told = [(fault.get("pointer") or "/", fault.get("detail")) for fault in problem.get("errors", [])]
        if told and told[0][1] and text.lower().endswith(told[0][1].lower()):  # said already, with or without its place
            pointer, detail = told.pop(0)
            text += f" ({pointer})" if text == detail and pointer != "/" else ""
        faults = [f"\n  {pointer}: {detail}" for pointer, detail in told]
    except (ValueError, AttributeError):
        return f"the API answered with status {answer.status_code}"
    hint = {401: " (check the key: --key or COATCHECK_API_KEY)", 403: " (the key needs another scope)"}
    return f"{text}{hint.get(answer.status_code, '')}{''.join(faults)}"
