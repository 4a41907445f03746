"""A full disk under Postgres: what was accepted stays, what does not fit is refused, and room is all it takes to go on."""

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from cli.stack.leftovers import end_leftovers
from cli.stack.postgres import EmbeddedPostgres
from core import ids
from tests.support.processes import Stage
from tests.support.servers import Databases
from tests.support.store import CHAT, Store
from tests.support.waiting import eventually

_SIZE = "400m"


@pytest.fixture(scope="module")
def small_disk() -> Iterator[Path]:
    """A folder that has hardly any room; only root can make one."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small disk; run the tests as root in a container to have this one")
    made = Path(tempfile.mkdtemp(prefix="cc-disk-")).resolve()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_SIZE}", "tmpfs", str(made)], check=False)
    if mounted.returncode != 0:
        made.rmdir()
        pytest.skip("this machine lets nobody mount a small disk")
    try:
        yield made
    finally:
        end_leftovers(made)
        subprocess.run(["umount", "--lazy", str(made)], check=True)
        made.rmdir()


@pytest.fixture(scope="module")
def own_postgres(small_disk: Path) -> Iterator[Databases]:
    with EmbeddedPostgres(small_disk) as server:
        databases = Databases(server, hasty=False)
        yield databases
        databases.close()


@pytest.fixture
def database_url(own_postgres: Databases) -> str:
    return own_postgres.create()


def fill(path: Path) -> None:
    """Write until nothing more fits."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 2**20)
        except OSError:
            pass


async def test_a_full_disk_refuses_jobs_and_loses_none(
    own_postgres: Databases, small_disk: Path, store: Store, stage: Stage, api_key: str
) -> None:
    api = await stage.api(database_pool="3")
    await stage.worker(database_pool="3")
    accepted: set[str] = set()
    answers: Counter[int] = Counter()
    headers = {"authorization": f"Bearer {api_key}"}
    async with httpx.AsyncClient(base_url=api.url, headers=headers, timeout=60, trust_env=False) as http:

        async def post() -> int:
            # Chance can't be compressed: each job takes a place on the disk.
            messages = [{"role": "user", "content": os.urandom(50_000).hex()}]
            answer = await http.post(
                "/v1/jobs", json={"endpoint": CHAT, "body": {"model": "sim/fast", "messages": messages}}
            )
            answers[answer.status_code] += 1
            if answer.status_code == 202:
                accepted.add(answer.json()["id"])
            return answer.status_code

        async def refused() -> bool:
            return 503 in await asyncio.gather(*(post() for _ in range(16)))

        async def taken() -> bool:
            if own_postgres.server.pid is None:
                # Its supervisor's part: without room for its log it ends itself.
                own_postgres.server.start()
            return await post() == 202

        assert await post() == 202
        await asyncio.to_thread(fill, small_disk / "filler")
        await eventually(refused, 90)
        assert (await http.get("/healthz")).status_code == 200
        (small_disk / "filler").unlink()
        await eventually(taken, 90)
    assert set(answers) == {202, 503}

    async def all_ended() -> bool:
        rows = await store.rows("SELECT id, status FROM jobs")
        ended = {ids.encode(ids.JOB, row.id) for row in rows if row.status == "succeeded"}
        # A commit whose answer was lost may have left a job that nobody was promised.
        return accepted <= ended and len(ended) == len(rows)

    await eventually(all_ended, 90)
