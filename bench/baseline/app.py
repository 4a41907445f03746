"""The baseline's API: `uvicorn bench.baseline.app:app`."""

import os
from collections.abc import AsyncIterator
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, FastAPI, HTTPException
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from bench.baseline.tables import Job
from bench.baseline.tasks import run_job

app = FastAPI()
engine = create_async_engine(os.environ["BASELINE_DATABASE_URL"], pool_size=20, max_overflow=0)
sessions = async_sessionmaker(engine, expire_on_commit=False)


async def session() -> AsyncIterator[AsyncSession]:
    async with sessions() as opened:
        yield opened


Session = Annotated[AsyncSession, Depends(session)]


class JobRequest(BaseModel):
    endpoint: str
    body: dict[str, Any]


class JobView(BaseModel):
    id: UUID
    status: str
    model: str
    result: dict[str, Any] | None = None


@app.get("/readyz")
async def ready() -> dict[str, str]:
    return {"status": "ok"}


@app.post("/jobs", status_code=202)
async def create_job(request: JobRequest, session: Session) -> JobView:
    job = Job(model=str(request.body.get("model")), body=request.body)
    session.add(job)
    await session.commit()
    run_job.delay(str(job.id), request.body)
    return JobView(id=job.id, status=job.status, model=job.model)


@app.get("/jobs/{job_id}")
async def get_job(job_id: UUID, session: Session) -> JobView:
    job = await session.get(Job, job_id)
    if job is None:
        raise HTTPException(404)
    return JobView(id=job.id, status=job.status, model=job.model, result=job.result)
