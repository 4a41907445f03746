"""The baseline's Celery app: `celery -A bench.baseline.tasks worker --pool threads --concurrency 100`."""

import os
import threading
from typing import Any
from uuid import UUID

import httpx
from celery import Celery
from sqlalchemy import create_engine, func, update
from sqlalchemy.orm import Session

from bench.baseline.tables import Job

THREADS = int(os.environ.get("BASELINE_THREADS", "100"))

app = Celery("baseline", broker=os.environ["BASELINE_BROKER_URL"])
app.conf.update(task_ignore_result=True, task_serializer="json", accept_content=["json"])

# Connections open when they are first used, so the API that imports this module opens none.
engine = create_engine(
    os.environ["BASELINE_DATABASE_URL"].replace("+asyncpg", "+psycopg"), pool_size=int(os.environ.get("BASELINE_POOL", "20")),
    max_overflow=0,
)  # fmt: skip
_limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
_shared = httpx.Client(timeout=60, limits=_limits)
_own = threading.local()


def client() -> httpx.Client:
    """The HTTP client of this variant: one for all threads, or one for each."""
    if os.environ.get("BASELINE_CLIENT") != "per_thread":
        return _shared
    if not hasattr(_own, "client"):
        _own.client = httpx.Client(timeout=60, limits=_limits)
    found: httpx.Client = _own.client
    return found


@app.task  # type: ignore[untyped-decorator]
def run_job(job_id: str, body: dict[str, Any]) -> None:
    """Call the model and store its answer."""
    answer = client().post(os.environ["BASELINE_UPSTREAM_URL"], json=body)
    answer.raise_for_status()
    with Session(engine) as session:
        session.execute(
            update(Job)
            .where(Job.id == UUID(job_id))
            .values(status="succeeded", result=answer.json(), finished_at=func.clock_timestamp())
            .execution_options(synchronize_session=False)
        )
        session.commit()
