"""The application: every path, and the parts that live as long as the process."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from api.application import Application
from api.observe import observe
from api.openapi import add_docs
from api.reference import options
from api.routes import bulk, catalog, deployments, events, groups, jobs, operations, route, submit, usage
from api.routes.cache_operations import add_cache_routes
from api.routes.schedule_operations import add_schedule_routes
from api.routes.webhook_operations import add_webhook_routes
from api.services import running
from core.settings import ApiSettings, Settings, WebhookSettings

#: In this order the router tries them: the hottest first.
HANDLERS: Final[dict[tuple[str, str], Callable[..., Any]]] = {
    ("POST", "/v1/jobs"): submit.submit,
    ("GET", "/v1/jobs/{id}"): jobs.get_job,
    ("GET", "/v1/jobs"): jobs.get_jobs,
    ("POST", "/v1/jobs/bulk"): bulk.submit_bulk,
    ("GET", "/v1/jobs/{id}/events"): events.job_events,
    ("POST", "/v1/jobs/{id}/cancel"): jobs.cancel_job,
    ("POST", "/v1/jobs/{id}/retry"): jobs.retry_job,
    ("GET", "/v1/jobs/{id}/attempts"): jobs.get_attempts,
    ("DELETE", "/v1/jobs/{id}"): jobs.remove_job,
    ("GET", "/v1/groups/{id}"): groups.get_group,
    ("POST", "/v1/groups/{id}/cancel"): groups.stop_group,
    ("GET", "/v1/models"): catalog.get_models,
    ("GET", "/v1/deployments"): deployments.get_deployments,
    ("POST", "/v1/route"): route.show_route,
    ("GET", "/v1/usage"): usage.get_usage,
    ("GET", "/"): operations.home,
    ("GET", "/healthz"): operations.healthz,
    ("GET", "/readyz"): operations.readyz,
    ("GET", "/metrics"): operations.get_metrics,
}


def create_app(
    settings: Settings | None = None, api: ApiSettings | None = None, webhook: WebhookSettings | None = None
) -> Application:
    """Return the application. Settings that are not given come from the environment.

    Raises:
        pydantic.ValidationError: when an environment variable has an impossible value.
    """
    common = settings or Settings()
    own = api or ApiSettings()
    hooks = webhook or WebhookSettings()

    @asynccontextmanager
    async def lifespan(app: Application) -> AsyncIterator[None]:
        async with running(common, own, hooks) as services:
            app.state.services = services
            app.state.stop_waiting = services.hub.stop_waiting
            yield

    app = Application(observe=observe, lifespan=lifespan, title="Coatcheck", version="0.1.0")
    for (method, path), handler in HANDLERS.items():
        app.add_api_route(path, handler, **options(method, path))
    add_webhook_routes(app)
    add_schedule_routes(app)
    add_cache_routes(app)
    add_docs(app)
    return app
