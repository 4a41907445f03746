"""`coatcheck demo` as a newcomer runs it: it tells the story, says which step failed, and leaves nothing behind."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import httpx
import psutil
import pytest

from cli.stack.leftovers import MARK, end_leftovers

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("COATCHECK_")} | {
    "PYTHONPATH": str(Path(__file__).parents[2]),
    # A stack of the user's own, which the demo must not touch.
    "COATCHECK_DATABASE_URL": "postgresql+asyncpg://nobody@localhost:1/nothing",
}


@pytest.fixture
def temporary() -> Iterator[Path]:
    """The folder that the demo takes for the machine's temporary one."""
    made = Path(tempfile.mkdtemp(prefix="cc-", dir="/tmp")).resolve()
    yield made
    for folder in made.iterdir():
        end_leftovers(folder)
    shutil.rmtree(made)


@contextmanager
def demo(temporary: Path) -> Iterator[tuple[subprocess.Popen[str], IO[str]]]:
    command = [sys.executable, "-m", "cli", "demo"]
    environment = ENVIRONMENT | {"TMPDIR": str(temporary)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=temporary, env=environment
    ) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout
        finally:
            if process.poll() is None:
                process.terminate()


def read_to(words: str, output: IO[str]) -> str:
    """What was said up to the line with these words."""
    said = ""
    for line in output:
        said += line
        if words in line:
            return said
    raise AssertionError(f"{words!r} was not said:\n{said}")


def nothing_left(temporary: Path) -> bool:
    return list(temporary.iterdir()) == [] and not [pid for pid in psutil.pids() if str(temporary) in mark_of(pid)]


def mark_of(pid: int) -> str:
    try:
        return psutil.Process(pid).environ().get(MARK, "")
    except (psutil.Error, OSError):
        return ""


def test_the_demo_tells_the_whole_story_and_leaves_nothing_behind(temporary: Path) -> None:
    killed_long_ago = temporary / "coatcheck-demo-killed"
    killed_long_ago.mkdir(mode=0o700)
    os.utime(killed_long_ago, (1, 1))
    with demo(temporary) as (process, output):
        said = output.read()
        assert process.wait() == 0, said
    assert "\x1b[" not in said
    assert re.search(r"POST /v1/jobs/bulk: 202 after [\d.]+ ms, the very first ones: /v1/groups/grp_", said)
    assert re.search(r"POST /v1/jobs: 202 after [\d.]+ ms, status_url http://127.0.0.1:\d+/v1/jobs/job_", said)
    assert "the deltas put together are the stored result" in said
    assert said.count("signature verified by the standardwebhooks library") == 2
    assert re.search(r"1,000 jobs in [\d.]+ s: [\d,]+ jobs/s", said)
    assert re.search(r"jobs claimed together: \d+ to \d+ a batch", said)
    assert re.search(r"500 embedding jobs in [\d.]+ s; the simulator's own count: \d+ calls \(", said)
    assert "simple → sim/nano" in said and "reasoning → sim/large" in said
    assert re.search(
        r"on average [\d.]+ s instead of [\d.]+ s, for [\d.]+ instead of [\d.]+ USD \(made-up prices\)", said
    )
    assert re.search(r"run now instead of at night: 200 of 200 answers kept after [\d.]+ s", said)
    assert re.search(r"the first user, prewarmed +hit +[\d.,]+ +0\n", said)
    assert re.search(r"the first user has the answer after [\d.]+ ms instead of \d+ ms", said)
    assert "200 identical jobs at once: 1 upstream call by the simulator's own count" in said
    assert re.search(r"cache.status: 199 coalesced, 1 miss", said)
    assert re.search(r"sim/trio-b answers status 500 +\d+ +\d+ +0 +\d+ +\d+\n", said)
    assert re.search(r"all \d+ jobs succeeded", said)
    assert re.search(r"the \d+ that met sim/trio-b went on elsewhere within the same attempt", said)
    assert re.search(r"breakers: sim/trio-a closed, sim/trio-b (open|half_open), sim/trio-c closed", said)
    assert re.search(r"worker-\d \(process \d+\) died", said)
    assert "500 jobs, 500 stored results, each from exactly one succeeded attempt" in said
    assert "no real model: sim/chat" in said
    assert re.search(r"sim/fast +50 +[\d,]+ +[\d,]+ +unknown", said)
    assert re.search(r"the \d+ jobs of sim/trio, added up one by one from cost_usd, cost exactly that", said)
    assert "How to go on" in said
    assert nothing_left(temporary)


def test_the_demo_names_the_step_that_went_wrong(temporary: Path) -> None:
    with demo(temporary) as (process, output):
        read_to("holds 500 requests", output)
        (stack_file,) = temporary.glob("coatcheck-demo-*/stack.json")
        stack = json.loads(stack_file.read_text())
        with httpx.Client(base_url=stack["api_url"], headers={"Authorization": f"Bearer {stack['api_key']}"}) as client:
            newest = client.get("/v1/jobs", params={"limit": 1}).json()["data"][0]
            client.post(f"/v1/groups/{newest['group_id']}/cancel").raise_for_status()
        said = output.read()
        assert process.wait() == 1
    assert "error: the demo failed in step 9 (A worker is killed" in said
    assert "'cancelled': 500" in said
    assert "Traceback" not in said
    assert nothing_left(temporary)


def test_ctrl_c_ends_the_demo_and_leaves_nothing_behind(temporary: Path) -> None:
    with demo(temporary) as (process, output):
        read_to("2 · ", output)
        process.send_signal(signal.SIGINT)
        said = output.read()
        assert process.wait() == 130
    assert "Traceback" not in said
    assert nothing_left(temporary)
