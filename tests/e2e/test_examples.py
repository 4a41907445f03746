"""The scripts in `examples/`, run as the README says, against a real stack."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from cli.stack.leftovers import end_leftovers

ROOT = Path(__file__).parents[2]
TEXT = ROOT / "examples" / "texts" / "heat-pumps.md"
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("COATCHECK_")} | {
    "PYTHONPATH": str(ROOT)
}


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder in which `coatcheck up` runs."""
    made = Path(tempfile.mkdtemp(prefix="cc-", dir="/tmp")).resolve()
    done = subprocess.run(
        [sys.executable, "-m", "cli", "up", "--detach", "--workers", "1", "--catalog", str(ROOT / "catalog.toml")],
        cwd=made, env=ENVIRONMENT, capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    yield made
    subprocess.run([sys.executable, "-m", "cli", "down"], cwd=made, env=ENVIRONMENT, timeout=60, check=False)
    end_leftovers(made / ".coatcheck")
    shutil.rmtree(made)


def run(folder: Path, script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "examples" / script), *arguments],
        cwd=folder, env=ENVIRONMENT | environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_submit_and_wait_prints_a_summary_and_stream_prints_the_same(folder: Path) -> None:
    waited = run(folder, "submit_and_wait.py", str(TEXT))
    streamed = run(folder, "stream.py", str(TEXT))
    assert waited.returncode == 0 and streamed.returncode == 0, waited.stderr + streamed.stderr
    assert "heat pump" in waited.stdout
    assert streamed.stdout.strip() == waited.stdout.strip()
    assert "[job.succeeded]" in streamed.stderr


def test_submit_and_wait_takes_the_api_from_the_environment_and_says_what_was_refused(folder: Path) -> None:
    stack = json.loads((folder / ".coatcheck" / "stack.json").read_text())
    environment = {"COATCHECK_API_URL": stack["api_url"], "COATCHECK_API_KEY": stack["api_key"]}
    refused = run(folder.parent, "submit_and_wait.py", str(TEXT), "no/such-model", **environment)
    assert refused.returncode == 1
    assert refused.stderr.startswith("422: ") and "Traceback" not in refused.stderr
    assert run(folder.parent, "submit_and_wait.py", str(TEXT), "local/keypoints", **environment).returncode == 0


def test_which_model_tells_what_was_chosen_why_and_what_it_took(folder: Path) -> None:
    done = run(
        folder, "which_model.py", "What is the capital of Portugal?", "Prove that the square root of two is irrational."
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[1].startswith("  sim/nano: looks simple") and lines[3].startswith("  sim/large: looks reasoning")
    assert [line.split(" ")[0] for line in lines[4:]] == ["sim/nano", "sim/large"]
    assert all(line.endswith(" USD") for line in lines[4:])


def test_the_first_visitor_of_a_prewarmed_page_is_served_from_the_cache(folder: Path) -> None:
    first = run(folder, "recommendations.py")
    assert first.returncode == 0, first.stderr
    assert "planned 200, skipped_fresh 0, submitted 200, succeeded 200, failed 0" in first.stdout
    cards = re.findall(r"^  (\w+) +[\d.]+ ms  boots for (.+)$", first.stdout, re.MULTILINE)
    assert [status for status, _ in cards] == ["hit", "miss"] and cards[0][1] == "young hikers"
    again = run(folder, "recommendations.py")
    assert "planned 200, skipped_fresh 200, submitted 0, succeeded 0, failed 0" in again.stdout, again.stderr
    assert again.stdout.split(":")[0] == first.stdout.split(":")[0], "a second schedule was made"


def test_the_profile_page_answers_at_once_and_fills_in(folder: Path) -> None:
    done = run(folder, "hybrid_profile.py", "--once")
    assert done.returncode == 0, done.stderr
    at_once, later = (json.loads(line.partition(" ms: ")[2]) for line in done.stdout.splitlines())
    assert (at_once["summary_status"], at_once["summary"]) == ("generating", None)
    assert later["summary_status"] == "ready" and later["summary"].startswith("[sim] ")
    assert later["about"] == at_once["about"]


def test_the_webhook_receiver_believes_signed_webhooks_only(folder: Path) -> None:
    command = [sys.executable, str(ROOT / "examples" / "webhook_receiver.py"), "0"]
    with subprocess.Popen(command, cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as receiver:
        try:
            assert receiver.stdout is not None
            url = receiver.stdout.readline().split()[-1]
            assert httpx.post(url, content=b"{}").status_code == 401
            assert "refused" in receiver.stdout.readline()
            stack = json.loads((folder / ".coatcheck" / "stack.json").read_text())
            job = httpx.post(
                f"{stack['api_url']}/v1/jobs",
                headers={"Authorization": f"Bearer {stack['api_key']}"},
                json={
                    "endpoint": "/v1/chat/completions",
                    "body": {"model": "local/keypoints", "messages": [{"role": "user", "content": TEXT.read_text()}]},
                    "webhook": {"url": url, "events": ["job.succeeded"]},
                },
            ).json()
            assert receiver.stdout.readline().split() == ["job.succeeded", job["id"]]
        finally:
            receiver.kill()
