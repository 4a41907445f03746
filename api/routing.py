"""Routes whose handlers take a `Call` and return an `Answer`.

FastAPI keeps the path, the method and the OpenAPI description. At run time its dependency and serialisation machinery is
skipped: it costs as much as everything else that a request needs. The key is checked here, on the matched route.
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from api.answers import Answer
from api.edge.body import BodyLimits, check_length, check_media, read
from api.edge.head import Head
from api.edge.middleware import HEAD
from api.problems import Problem, invalid_query
from api.strict_json import an_object, parse_body

if TYPE_CHECKING:
    from api.services import Services
    from core.store.keys import ApiKey

JSON = b"application/json"


class Call(Request):
    """One authorised request: Starlette's Request with our head, key and services at hand."""

    head: Head
    key: "ApiKey"
    services: "Services"

    def header(self, name: bytes) -> str | None:
        """Return a header's value as text, or None.

        Raises:
            Problem: 400 when it is not printable ASCII.
        """
        value = self.head.headers.get(name)
        if value is None:
            return None
        text = value.decode("latin-1")
        if not (text.isascii() and text.isprintable()):
            raise Problem("invalid_header", f"The header {name.decode()} must be printable ASCII.", param=name.decode())
        return text

    def query(self, *known: str) -> dict[str, str]:
        """Return the query's parameters. A name that ends in `[` admits any `name[…]`.

        Raises:
            Problem: 422 for an unknown or repeated parameter: a mistyped filter must not return everything.
        """
        raw: bytes = self.scope["query_string"]
        if not raw:
            return {}
        found: dict[str, str] = {}
        for name, value in parse_qsl(raw.decode("latin-1"), keep_blank_values=True, errors="replace"):
            if name not in known and not any(k[-1] == "[" and name.startswith(k) and name[-1] == "]" for k in known):
                raise invalid_query(name[:64], f"Unknown query parameter {name[:64]!r}.")
            if name in found:
                raise invalid_query(name[:64], f"The query parameter {name[:64]!r} is there twice.")
            if "\x00" in value or "\ufffd" in value or "\x00" in name:
                raise invalid_query(name[:64].replace("\x00", "\ufffd"), "The query holds invalid text.")
            found[name] = value
        return found

    async def json(self) -> dict[str, Any]:
        """Return the body, a JSON object.

        Raises:
            Problem: 400, 408, 413, 415 or 422.
        """
        headers = self.head.headers
        check_length(headers, self.services.limits)
        check_media(headers, JSON)
        return an_object(await parse_body(await read(self.receive, headers, self.services.limits)))

    async def optional_json(self) -> dict[str, Any]:
        """Return the body, a JSON object, or an empty one when there is no body."""
        return {} if self.head.body_done else await self.json()

    async def no_body(self) -> None:
        """Take in a body that means nothing, if it is small."""
        if not self.head.body_done:
            limits = self.services.limits
            await read(self.receive, self.head.headers, BodyLimits(64 * 1024, limits.idle_s, limits.total_s))


Handler = Callable[[Call], Awaitable[ASGIApp]]
H = TypeVar("H", bound=Callable[..., Any])


def needs(scope: str | None) -> Callable[[H], H]:
    """Declare the scope that a key must have for this handler; None: open to all.

    Raises (when called):
        Problem: 401, 403, 429 or 503.
    """

    def mark(handler: H) -> H:
        handler.needs = scope  # type: ignore[attr-defined]
        return handler

    return mark


class PlainRoute(APIRoute):
    """A route that calls its handler with a `Call` and sends what it returns."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        options["response_model"] = None
        options["response_class"] = Response  # it has no media type: each operation names its own
        super().__init__(path, endpoint, **options)
        self.scope_needed: str | None = getattr(endpoint, "needs", None)
        self.app = _plain(endpoint, self.path_format)


def _plain(handler: Handler, path: str) -> ASGIApp:
    try:
        scope_needed: str | None = handler.needs  # type: ignore[attr-defined]
    except AttributeError:
        raise TypeError(f"{handler!r} does not say which scope it needs") from None

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        call = Call(scope, receive, send)
        call.head = head = scope[HEAD]
        call.services = services = scope["app"].state.services
        head.route = path
        if scope_needed is not None:
            call.key = await services.auth.admit(head, scope_needed)
        answer = await handler(call)
        await answer(scope, receive, send)

    return app


__all__ = ["Answer", "Call", "PlainRoute", "needs"]
