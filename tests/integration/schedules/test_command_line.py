"""`coatcheck schedules` against the running API."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy.ext.asyncio import AsyncEngine

from cli.main import main
from core.settings import Settings
from tests.integration.schedules.conftest import TEMPLATE
from tests.support.api import running_api
from tests.support.store import Store

Run = Callable[..., Awaitable[str]]


@pytest.fixture
async def run(settings: Settings, owner: AsyncEngine) -> Any:
    """Runs `coatcheck schedules …`; what it prints."""
    async with running_api(settings, owner) as api:
        admin = await api.caller("acme", "admin")
        target = ["--url", api.running.url, "--key", admin.key]

        async def call(*arguments: str, status: int = 0) -> str:
            told = await asyncio.to_thread(CliRunner().invoke, main, ["schedules", *arguments, *target])
            assert told.exit_code == status, told.output
            return told.output

        yield call


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "schedule.json"
    matrix = {"segment": ["a"], "category": ["b", "c"]}
    path.write_text(
        json.dumps({"name": "Night", "kind": "jobs", "cron": "0 3 * * *", "template": TEMPLATE, "matrix": matrix})
    )
    return path


async def test_a_schedule_from_its_creation_to_its_end(run: Run, file: Path) -> None:
    made = json.loads(await run("create", str(file), "--json"))
    name = made["id"]
    assert "Night" in await run("list")
    assert made["next_runs"][4] in await run("get", name)
    assert "paused" in await run("pause", name)
    assert "is running" in await run("run", name)
    assert "still going on" in await run("run", name, status=1)
    [told] = json.loads(await run("runs", name, "--json"))["data"]
    assert (told["status"], told["planned"]) == ("running", 2)
    assert told["id"] in await run("runs", name)
    assert "T03:00:00.000Z" in await run("resume", name)
    await run("delete", name)
    assert "no schedules" in await run("list")


async def test_what_a_learned_prewarm_chose_is_shown(run: Run, tmp_path: Path, store: Store) -> None:
    path = tmp_path / "learned.json"
    path.write_text(json.dumps({"kind": "prewarm", "cron": "45 * * * *", "matrix": "learned", "template": {}}))
    name = json.loads(await run("create", str(path), "--json"))["id"]
    assert "prewarm, learned" in await run("list")
    assert "prewarm, learned" in await run("get", name)
    await run("run", name)
    assert "has chosen nothing" in await run("choices", name, status=1)
    choice = {"probability": 0.9, "model": "sim/fast", "reason": "asked for 20 times", "job_id": "job_1"}
    await store.sql(
        "UPDATE schedule_runs SET planned = 1, choices = CAST(CAST(:told AS text) AS json)", told=json.dumps([choice])
    )
    [told] = json.loads(await run("runs", name, "--json"))["data"]
    shown = await run("choices", name, "--run", told["id"])
    assert told["id"] in shown and "asked for 20 times" in shown
    assert json.loads(await run("choices", name, "--json")) == [choice]
    assert "has chosen nothing" in await run("choices", name, "--run", "run_2", status=1)


async def test_what_can_not_be_is_said_in_words(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_text("[]")
    assert "one JSON object" in await run("create", str(path), status=1)
    path.write_text('{"kind": "jobs", "cron": "soon", "template": {}}')
    assert "five fields" in await run("create", str(path), status=1)
    assert "is not a schedule's id" in await run("get", "../keys", status=1)
