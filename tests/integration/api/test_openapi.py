"""The published contract: frozen, valid, and true."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from api.app import create_app
from api.openapi import document
from core.settings import ApiSettings, Settings, WebhookSettings
from tests.support.api import Api
from tests.support.servers import REPOSITORY

SNAPSHOT = REPOSITORY / "tests" / "snapshots" / "openapi.json"


@pytest.fixture(scope="module")
def published() -> dict[str, object]:
    return document(create_app(Settings(), ApiSettings(), WebhookSettings()))


def test_the_contract_changes_only_on_purpose(published: dict[str, object]) -> None:
    """Run `python -m tests.snapshots.renew` after a change that is meant."""
    assert json.loads(SNAPSHOT.read_text()) == json.loads(json.dumps(published))


def test_every_operation_is_described(published: dict[str, object]) -> None:
    paths: dict[str, dict[str, dict[str, object]]] = published["paths"]  # type: ignore[assignment]
    for path, operations in paths.items():
        for method, operation in operations.items():
            assert operation["summary"], (method, path)
            assert {"500", "503", "default"} <= operation["responses"].keys(), (method, path)  # type: ignore[attr-defined]
    assert {"job.succeeded", "job.failed", "job.cancelled", "job.expired", "group.completed"} <= published[
        "webhooks"
    ].keys()  # type: ignore[attr-defined]


def test_every_reference_leads_somewhere(published: dict[str, object]) -> None:
    schemas = published["components"]["schemas"]  # type: ignore[index]
    text = json.dumps(published)
    wanted = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert wanted <= schemas.keys()
    assert '"#/$defs/' not in text


async def test_schemathesis_finds_no_crash_and_nothing_undocumented(api: Api, tmp_path: Path) -> None:
    caller = await api.caller("fuzz", "jobs:read", "jobs:write", "admin")
    # As at shutdown: long-polls and streams answer with what there is instead of waiting for jobs that nobody runs.
    api.running.app.state.services.hub.stop_waiting()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "schemathesis.cli", "run", f"{api.running.url}/openapi.json",
        "--header", f"Authorization: Bearer {caller.key}", "--phases", "examples,coverage,fuzzing", "--max-examples", "8",
        "--seed", "7", "--request-timeout", "15", "--no-color",
        # Contradicting times, other payloads under a used key, unknown models: 422 for what no schema can say.
        "--exclude-checks", "positive_data_acceptance",
        # It waits for a worker's try.
        "--exclude-path-regex", "/test$",
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={**os.environ, "HYPOTHESIS_STORAGE_DIRECTORY": str(tmp_path)},
    )  # fmt: skip
    told, _ = await process.communicate()
    assert process.returncode == 0, told.decode()[-6000:]
