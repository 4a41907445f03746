"""The FastAPI application class: our edge instead of the usual stack of middleware."""

from typing import Any

from fastapi import FastAPI
from starlette.routing import Match
from starlette.types import ASGIApp, Scope

from api.edge.middleware import Edge, Observer
from api.routing import PlainRoute


class Application(FastAPI):
    """FastAPI with one middleware. Paths are exact: a trailing slash is another path, never a redirect."""

    def __init__(self, *, observe: Observer | None = None, **options: Any) -> None:
        self._observe = observe
        super().__init__(
            redirect_slashes=False,
            docs_url=None,
            redoc_url=None,
            openapi_url=None,
            # Trace context is carried by the edge; FastAPI's own spans would double the cost of a request.
            telemetry={"tracing": False, "metrics": False, "logs": False},
            **options,
        )
        self.router.route_class = PlainRoute

    def build_middleware_stack(self) -> ASGIApp:
        """Put the edge around the router; it does what Starlette's error middleware would do."""
        return Edge(self.router, self._allowed, self._observe)

    def _allowed(self, scope: Scope) -> list[str]:
        """Return the methods of the path: of its own routes if it has some, else of those whose pattern it fits."""
        fitting = [route for route in self.routes if route.matches(scope)[0] is not Match.NONE]
        own = [route for route in fitting if getattr(route, "path", None) == scope["path"]]
        methods = {method for route in own or fitting for method in getattr(route, "methods", None) or ("GET",)}
        return list(methods | {"HEAD"} if "GET" in methods else methods)
