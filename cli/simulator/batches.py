"""Files and batches as an OpenAI-style Batch API has them, in memory.

A batch works on nothing by itself: each look at it finds it as far as it would be by now. `POST /control` with
`{"batches": {…}}` steers it:

    ms        how long a batch takes (default 200)
    hold      it never ends
    fail      {code, message, line}: the whole batch is refused after its validation
    expire    it ends after half of its lines
    drop      so many lines at the end are in neither file
    errors    {step: {status, times}}: the step is answered with an error; steps are upload, submit, state, cancel, content, list
    hang      {step: "before" | "after" | "second"}: the step is done (after) or not (before), and never answered; "second": the
              first time it is
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson

from cli.simulator.answers import Asked, Json
from cli.simulator.connection import Connection, Request
from cli.simulator.exchange import _WHOLE
from cli.simulator.models import MODELS

_STEPS = {
    (b"POST", "files", 0): "upload",
    (b"GET", "files", 0): "list",
    (b"GET", "files", 1): "state",
    (b"DELETE", "files", 1): "delete",
    (b"GET", "files", 2): "content",
    (b"POST", "batches", 0): "submit",
    (b"GET", "batches", 0): "list",
    (b"GET", "batches", 1): "state",
    (b"POST", "batches", 2): "cancel",
}


@dataclass(slots=True)
class _File:
    id: str
    name: str
    purpose: str
    content: bytes
    created: int

    def shown(self) -> Json:
        return {"id": self.id, "object": "file", "bytes": len(self.content), "created_at": self.created,
                "filename": self.name, "purpose": self.purpose}  # fmt: skip


@dataclass(slots=True)
class _Batch:
    body: Json
    lines: list[Json]
    began: float = field(default_factory=time.monotonic)
    ended: bool = False


class Batches:
    """What was uploaded and submitted. `control` returns what steers it now."""

    def __init__(self, seed: int, control: Callable[[], Json]) -> None:
        self._seed = seed
        self._control = control
        self._files: dict[str, _File] = {}
        self._batches: dict[str, _Batch] = {}
        self._failed: Counter[str] = Counter()
        self._number = 0
        #: How often each step was asked for.
        self.seen: Counter[str] = Counter()

    def clear(self) -> None:
        """Forget everything."""
        self._files.clear()
        self._batches.clear()
        self._failed.clear()
        self.seen.clear()

    def handle(self, connection: Connection, request: Request) -> None:
        """Answer a request below `/v1/files` or `/v1/batches`."""
        target = urlsplit(request.target.decode("latin-1"))
        _, _, kind, *names = target.path.split("/")
        step = _STEPS.get((request.method, kind, len(names)))
        if step is None:
            self._send(connection, 405, _error("no such operation"))
            return
        control = self._control()
        self.seen[step] += 1
        hang = control.get("hang", {}).get(step)
        if hang == "before" or (hang == "second" and self.seen[step] > 1):
            return
        error = control.get("errors", {}).get(step)
        if error and (self._failed[step] < error.get("times", 2**31)):
            self._failed[step] += 1
            self._send(connection, int(error.get("status", 500)), _error("this error was asked for"))
            return
        status, body = self._answer(step, kind, names, target.query, request)
        if hang != "after":
            self._send(connection, status, body)

    def _answer(self, step: str, kind: str, names: list[str], query: str, request: Request) -> tuple[int, Any]:
        known: dict[str, Any] = self._files if kind == "files" else self._batches
        if names and names[0] not in known:
            return 404, _error(f"there is no {names[0]}")
        if step == "submit":
            return self._submit(orjson.loads(request.body))
        if step == "list":
            return 200, self._listed(kind, {name: values[-1] for name, values in parse_qs(query).items()})
        if step == "upload":
            return 200, self._upload(request).shown()
        return 200, self._file(step, names[0]) if kind == "files" else self._state(step, self._batches[names[0]])

    def _file(self, step: str, name: str) -> Any:
        if step == "delete":
            del self._files[name]
            return {"id": name, "object": "file", "deleted": True}
        return self._files[name].content if step == "content" else self._files[name].shown()

    def _state(self, step: str, batch: _Batch) -> Json:
        if step == "cancel" and not batch.ended:
            batch.body["status"] = "cancelling"
        self._look(batch)
        return batch.body

    def _listed(self, kind: str, query: dict[str, str]) -> Json:
        if kind == "files":
            shown = [
                file.shown() for file in reversed(self._files.values()) if query.get("purpose") in (None, file.purpose)
            ]
        else:
            for batch in self._batches.values():
                self._look(batch)
            shown = [batch.body for batch in reversed(self._batches.values())]
        if after := query.get("after"):
            places = [place for place, listed in enumerate(shown) if listed["id"] == after]
            shown = shown[places[0] + 1 :] if places else []
        most = int(query.get("limit", 20))
        return {"object": "list", "data": shown[:most], "has_more": len(shown) > most}

    def _upload(self, request: Request) -> _File:
        kind = request.headers.get(b"content-type", "")
        boundary = b"--" + kind.split("boundary=")[1].strip('"').encode()
        purpose, name, content = "batch", "file", b""
        for part in request.body.split(boundary)[1:-1]:
            head, _, data = part.partition(b"\r\n\r\n")
            data = data.removesuffix(b"\r\n")
            if b'name="purpose"' in head:
                purpose = data.decode()
            elif b'name="file"' in head:
                name = head.split(b'filename="')[1].split(b'"')[0].decode()
                content = data
        return self._store(name, purpose, content)

    def _store(self, name: str, purpose: str, content: bytes) -> _File:
        self._number += 1
        file = _File(f"file-sim-{self._number}", name, purpose, content, int(time.time()))
        self._files[file.id] = file
        return file

    def _submit(self, asked: Json) -> tuple[int, Json]:
        file = self._files.get(asked["input_file_id"])
        if file is None:
            return 400, _error("no such input file")
        lines = [orjson.loads(line) for line in file.content.split(b"\n") if line.strip()]
        self._number += 1
        body: Json = {
            "id": f"batch-sim-{self._number}",
            "object": "batch",
            "endpoint": asked["endpoint"],
            "input_file_id": file.id,
            "completion_window": asked["completion_window"],
            "status": "in_progress",
            "metadata": asked.get("metadata"),
            "output_file_id": None,
            "error_file_id": None,
            "errors": None,
            "created_at": int(time.time()),
            "request_counts": {"total": len(lines), "completed": 0, "failed": 0},
        }
        self._batches[body["id"]] = _Batch(body, lines)
        return 200, body

    def _look(self, batch: _Batch) -> None:
        """Bring a batch to where it is by now."""
        control, body = self._control(), batch.body
        if batch.ended:
            return
        if body["status"] == "cancelling":
            batch.ended = True
            body["status"] = "cancelled"
        elif not control.get("hold") and time.monotonic() - batch.began >= float(control.get("ms", 200)) / 1000:
            batch.ended = True
            if fail := control.get("fail"):
                body["status"] = "failed"
                body["errors"] = {"object": "list", "data": [fail]}
            else:
                self._work(batch, control)

    def _work(self, batch: _Batch, control: Json) -> None:
        body, lines = batch.body, batch.lines
        expire = bool(control.get("expire"))
        done = lines[: len(lines) // 2] if expire else lines[: len(lines) - int(control.get("drop", 0))]
        good: list[Json] = []
        bad: list[Json] = []
        for line in done:
            status, answer = self._line(line)
            told = {"id": f"batch_req_{line['custom_id']}", "custom_id": line["custom_id"], "error": None,
                    "response": {"status_code": status, "request_id": "simreq", "body": answer}}  # fmt: skip
            (good if status == 200 else bad).append(told)
        if expire:
            late = {
                "code": "batch_expired",
                "message": "This request could not be executed before the completion window expired.",
            }
            bad += [
                {"id": "x", "custom_id": line["custom_id"], "response": None, "error": late}
                for line in lines[len(done) :]
            ]
        for name, told_lines in (("output_file_id", good), ("error_file_id", bad)):
            if told_lines:
                content = b"".join(orjson.dumps(line) + b"\n" for line in told_lines)
                body[name] = self._store(f"{body['id']}_{name}.jsonl", "batch_output", content).id
        body["status"] = "expired" if expire else "completed"
        body["request_counts"] = {"total": len(lines), "completed": len(good), "failed": len(bad)}

    def _line(self, line: Json) -> tuple[int, Json]:
        body = line["body"]
        sim = body.get("sim") or {}
        model = MODELS.get(body.get("model"))
        if model is None or line["url"] not in _WHOLE:
            return 404, _error(f"the model {body.get('model')!r} does not exist")
        if error := sim.get("error"):
            job = line["custom_id"].split(":")[0]
            self._failed[job] += 1
            if self._failed[job] <= int(error.get("times", 2**31)):
                return int(error.get("status", 500)), _error(str(error.get("message", "this error was asked for")))
        self._number += 1
        tokens = int(sim.get("tokens", model.tokens))
        return 200, _WHOLE[line["url"]](
            Asked(line["url"], body, sim, model.name, self._number, int(time.time()), max(1, tokens), self._seed)
        )

    def _send(self, connection: Connection, status: int, body: Any) -> None:
        connection.respond(status, body if isinstance(body, bytes) else orjson.dumps(body))
        connection.finished()


def _error(message: str) -> Json:
    return {"error": {"message": f"[sim] {message}", "type": "invalid_request_error", "param": None, "code": None}}
