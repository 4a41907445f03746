"""The one middleware. Pure ASGI, one pass: a wrapper per concern would cost more than the handlers."""

import asyncio
import time
import traceback
from collections.abc import Callable
from typing import Final

import structlog
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.answers import Answer
from api.edge.body import ClientGone
from api.edge.head import Head, check
from api.problems import CONTENT_TYPE, Fault, Problem, pointer, unavailable
from api.rate import NO_LIMITS
from api.schemas.wording import sentence
from core.store.failures import is_outage

log = structlog.get_logger("api")

HEAD: Final = "coatcheck.head"
_LINGER_S: Final = 1.0
_METHOD_ORDER = ("GET", "HEAD", "POST", "PATCH", "PUT", "DELETE")

Observer = Callable[[str, str, int, float], None]


class Edge:
    """Gives every request an id and a trace, every answer its headers, and every failure a problem body.

    Args:
        app: the router.
        allowed: returns the methods that a path has, for `Allow`.
        observe: told (method, route, status, seconds) after each request.
    """

    def __init__(self, app: ASGIApp, allowed: Callable[[Scope], list[str]], observe: Observer | None = None) -> None:
        self._app = app
        self._allowed = allowed
        self._observe = observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the server's start and stop."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        method: str = scope["method"]
        head = Head(dict(scope["headers"]), alone=method == "HEAD")
        scope[HEAD] = head
        if head.alone:
            # A copy: the server must go on to know that no body may follow.
            scope, send = {**scope, "method": "GET"}, _without_body(send)
        stamped = _stamping(head, receive, send)
        if not head.body_done:
            receive = _watching(head, receive)
        try:
            check(scope, head)  # type: ignore[arg-type]
            await self._app(scope, receive, stamped)
        except ClientGone:
            head.status = head.status or 499
        except Exception as error:  # whatever it is, the caller gets an answer in the API's form
            if head.status:  # too late for another answer: cut the connection so that nobody takes it for complete
                log.exception("answer_broken", request_id=head.request_id, error=type(error).__name__, at=_where(error))
                raise
            problem = self._as_problem(error, scope, head)
            head.close = problem.close
            body = problem.body(scope["path"][:200].encode(errors="replace").decode(), head.request_id)
            headers = problem.head()
            if problem.kind.status == 503 and not head.tags:
                headers.extend(NO_LIMITS)
            await Answer(problem.kind.status, body, headers, CONTENT_TYPE)(scope, receive, stamped)
        finally:
            if self._observe is not None:
                self._observe(method, head.route, head.status, time.perf_counter() - started)

    def _as_problem(self, error: Exception, scope: Scope, head: Head) -> Problem:
        if isinstance(error, Problem):
            return error
        if isinstance(error, HTTPException):
            if error.status_code == 405:
                allow = ", ".join(sorted(self._allowed(scope), key=_METHOD_ORDER.index))
                return Problem("method_not_allowed", f"Allowed here: {allow}.", headers=[(b"allow", allow.encode())])
            if error.status_code == 404:
                return Problem("not_found", "No such path.")
        if isinstance(error, RequestValidationError):
            faults = [Fault(pointer("", e["loc"][1:]), sentence(e)) for e in error.errors()]
            return Problem("invalid_request", errors=faults)
        if is_outage(error):
            log.warning("store_unavailable", request_id=head.request_id, error=type(error).__name__)
            return unavailable()
        log.error("request_failed", request_id=head.request_id, error=type(error).__name__, at=_where(error))
        return Problem("internal", "Something went wrong on our side. The request id finds it in the log.")


def _where(error: BaseException) -> list[str]:
    """Return the innermost frames as `file:line function`. Messages are left out: they may quote bodies or statements."""
    frames = traceback.extract_tb(error.__traceback__)[-8:]
    return [f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in frames]


def _without_body(send: Send) -> Send:
    """Let the head pass and keep the body back, as an answer to HEAD needs it."""

    async def headed(message: Message) -> None:
        if message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await send(message)

    return headed


def _watching(head: Head, receive: Receive) -> Receive:
    """Note when the body has been read to its end."""

    async def watched() -> Message:
        message = await receive()
        if not message.get("more_body", False):
            head.body_done = True
        return message

    return watched


def _stamping(head: Head, receive: Receive, send: Send) -> Send:
    """Add the headers of every answer; end the connection when the request's body was left unread."""
    request_id = head.request_id.encode()

    async def stamped(message: Message) -> None:
        if message["type"] == "http.response.start":
            head.status = message["status"]
            headers = message["headers"]
            headers.append((b"x-request-id", request_id))
            headers.extend(head.tags)
            if head.close or not head.body_done:
                headers.append((b"connection", b"close"))
        elif not head.body_done and not message.get("more_body", False):
            # Closing now would reset the connection while the client still sends, and eat the answer on its way.
            await send({**message, "more_body": True})
            await _linger(receive)
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await send(message)

    return stamped


async def _linger(receive: Receive) -> None:
    """Swallow what the client still sends, for a moment."""
    try:
        async with asyncio.timeout(_LINGER_S):
            while (await receive()).get("more_body", False):
                pass
    except TimeoutError:
        pass
