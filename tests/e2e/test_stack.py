"""`coatcheck up` and `down` as a user runs them: real processes, a data directory of their own."""

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from cli.stack.leftovers import end_leftovers, leftover_processes
from cli.stack.lock import current_holder
from cli.stack.server import wait_until

# Where the stack is started: a folder that holds none of our packages, as with a user who installed coatcheck.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("COATCHECK_")} | {
    "PYTHONPATH": str(Path(__file__).parents[2])
}


def coatcheck(folder: Path, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env=ENVIRONMENT,
        timeout=timeout,
    )


def stack_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / ".coatcheck" / "stack.json").read_text())  # type: ignore[no-any-return]


def new_folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="cc-stack-", dir="/tmp")).resolve()


def remove(folder: Path) -> None:
    coatcheck(folder, "down")
    end_leftovers(folder / ".coatcheck")
    shutil.rmtree(folder)


def nothing_left(folder: Path) -> bool:
    sockets = [path for path in (folder / ".coatcheck").rglob("*") if path.is_socket()]
    return leftover_processes(folder / ".coatcheck") == [] and sockets == []


@pytest.fixture(scope="module")
def detached() -> Iterator[Path]:
    """The folder with a detached stack."""
    folder = new_folder()
    try:
        done = coatcheck(folder, "up", "--detach", timeout=90)
        assert done.returncode == 0, done.stdout + done.stderr
        assert [line for line in done.stdout.splitlines() if line.startswith("ready api=http://127.0.0.1:")]
        assert f"logs are in {folder}/.coatcheck/logs" in done.stdout
        yield folder
    finally:
        remove(folder)


@pytest.fixture
def folder() -> Iterator[Path]:
    made = new_folder()
    yield made
    remove(made)


def test_stack_json_has_exactly_the_promised_members_and_is_private(detached: Path) -> None:
    stack = stack_of(detached)
    urls = {"api_url", "flower_url", "metrics_url", "database_url", "redis_url", "broker_url"}
    assert set(stack) == urls | {"api_key", "webhook_secret", "pids"}
    assert set(stack["pids"]) == {"api", "worker", "beat", "flower", "postgres", "redis"}
    assert len(stack["pids"]["worker"]) == 2
    assert stat.S_IMODE((detached / ".coatcheck" / "stack.json").stat().st_mode) == 0o600
    numbers = [pid for value in stack["pids"].values() for pid in (value if isinstance(value, list) else [value])]
    assert all(psutil.pid_exists(pid) for pid in numbers)


def test_flower_shows_a_claim_as_a_task_with_lane_size_and_job_ids(detached: Path) -> None:
    stack = stack_of(detached)
    headers = {"authorization": f"Bearer {stack['api_key']}", "prefer": "wait=20"}
    job = {
        "endpoint": "/v1/chat/completions",
        "body": {"model": "sim/fast", "messages": [{"role": "user", "content": "Hello"}]},
    }
    names: list[str] = []

    def shown() -> bool:
        # Flower sees what happens from its own start on, and a sweep may be faster than a doorbell: so a job at each look.
        names.append(httpx.post(f"{stack['api_url']}/v1/jobs", json=job, headers=headers, timeout=30).json()["id"])
        tasks = httpx.get(f"{stack['flower_url']}/api/tasks", timeout=10).json().values()
        results = [task["result"] or "" for task in tasks]
        return any(
            name in result and "'size': 1" in result and "'default'" in result for name in names for result in results
        )

    assert wait_until(shown, 30, 0.2)


def test_secrets_stand_on_no_command_line(detached: Path) -> None:
    stack = stack_of(detached)
    password = stack["flower_url"].split(":")[2].split("@")[0]
    lines = [" ".join(process.cmdline()) for process in leftover_processes(detached / ".coatcheck")]
    assert not [line for line in lines if password in line or stack["api_key"] in line]


def test_flower_wants_the_generated_password(detached: Path) -> None:
    url = stack_of(detached)["flower_url"]
    open_url = f"http://{url.split('@')[1]}/"
    assert wait_until(lambda: answers(open_url), 20)
    assert httpx.get(open_url).status_code == 401
    assert httpx.get(url).status_code == 200


def answers(url: str) -> bool:
    try:
        httpx.get(url)
    except httpx.TransportError:
        return False
    return True


def test_a_second_up_says_who_holds_the_data_directory(detached: Path) -> None:
    done = coatcheck(detached, "up")
    holder = current_holder(detached / ".coatcheck")
    assert holder is not None
    assert done.returncode == 1
    assert str(holder.pid) in done.stderr and stack_of(detached)["api_url"] in done.stderr
    assert "Traceback" not in done.stderr


def test_a_job_goes_through_from_the_command_line(detached: Path) -> None:
    text = "Cats sleep a lot. Cats also hunt at night. Dogs bark at cats. Fish do neither of it."
    done = coatcheck(detached, "jobs", "submit", "--model", "local/summarize", "--text", text, "--wait", "--json")
    job = json.loads(done.stdout)
    assert job["status"] == "succeeded", job
    assert job["id"] in coatcheck(detached, "jobs", "list").stdout
    watched = coatcheck(detached, "jobs", "watch", job["id"], "--json").stdout.splitlines()
    assert json.loads(watched[-1])["event"] == "job.succeeded"
    assert coatcheck(detached, "jobs", "get", "job_nothing").returncode == 1


def test_the_endpoint_follows_from_the_model(detached: Path) -> None:
    said = ("--text", "Cats sleep a lot.", "--wait")
    embedded = coatcheck(detached, "jobs", "submit", "--model", "local/embed", *said)
    assert embedded.returncode == 0, embedded.stderr
    assert "1 embedding of " in embedded.stdout
    moderated = coatcheck(detached, "jobs", "submit", "--model", "sim/moderate", *said, "--json")
    assert json.loads(moderated.stdout)["endpoint"] == "/v1/moderations"
    refused = coatcheck(detached, "jobs", "submit", "--model", "sim/rerank", *said)
    assert refused.returncode == 1 and "sim/rerank serves /v1/rerank" in refused.stderr


def test_a_mistake_is_told_once_with_its_place(detached: Path) -> None:
    unknown = coatcheck(detached, "jobs", "submit", "--model", "sim/none", "--text", "x").stderr
    assert unknown.count("There is no model") == 1 and unknown.rstrip().endswith("(/body/model)")
    asked = ("--model", "local/embed", "--text", "x", "--endpoint", "/v1/chat/completions")
    wrong = coatcheck(detached, "jobs", "submit", *asked).stderr
    assert wrong.count("does not serve") == 1
    (detached / "two.json").write_text('{"endpoint": "/v1/none", "body": {}, "priority": 99}')
    two = coatcheck(detached, "jobs", "submit", "two.json").stderr
    assert two.lower().count("must be '/v1/chat/completions'") == 1 and two.count("priority") == 1


def test_the_stacks_own_webhook_secret_is_renewed_wherever_it_is_kept(detached: Path) -> None:
    before = stack_of(detached)
    renewed = coatcheck(detached, "tenants", "rotate-secret", "default").stdout.strip()
    assert stack_of(detached) == {**before, "webhook_secret": renewed} != before
    kept = json.loads((detached / ".coatcheck" / "secrets.json").read_text())
    assert kept["webhook_secret"] == renewed


def test_keys_are_made_listed_and_revoked(detached: Path) -> None:
    first = json.loads(coatcheck(detached, "keys", "create", "--tenant", "acme", "--json").stdout)
    assert set(first) == {"id", "key", "tenant", "scopes", "webhook_secret"}
    assert first["webhook_secret"].startswith("whsec_")
    second = json.loads(coatcheck(detached, "keys", "create", "--tenant", "acme", "--rpm", "5", "--json").stdout)
    assert second["webhook_secret"] is None
    api = stack_of(detached)["api_url"]
    asked = {"Authorization": f"Bearer {first['key']}"}
    assert httpx.get(f"{api}/v1/jobs", headers=asked).status_code == 200
    assert coatcheck(detached, "keys", "revoke", first["id"]).returncode == 0
    assert wait_until(lambda: httpx.get(f"{api}/v1/jobs", headers=asked).status_code == 401, 5)
    listed = coatcheck(detached, "keys", "list").stdout
    assert first["id"] in listed and first["key"] not in listed
    times = [key["created_at"] for key in json.loads(coatcheck(detached, "keys", "list", "--json").stdout)]
    assert [time for time in times if not time.endswith("Z")] == []
    renewed = json.loads(coatcheck(detached, "tenants", "rotate-secret", "acme", "--json").stdout)
    assert renewed["webhook_secret"] != first["webhook_secret"]
    assert stack_of(detached)["webhook_secret"] not in (renewed["webhook_secret"], first["webhook_secret"])


def test_the_doctor_is_content_with_a_running_stack(detached: Path) -> None:
    done = coatcheck(detached, "doctor", "--json")
    findings = {finding["name"]: finding for finding in json.loads(done.stdout)}
    assert done.returncode == 0, findings
    assert findings["stack"]["found"].startswith("running in ")
    assert findings["database"]["level"] == "ok" and findings["broker"]["level"] == "ok"


def test_a_killed_worker_is_replaced_and_stack_json_follows(detached: Path) -> None:
    before = stack_of(detached)["pids"]["worker"]
    os.kill(before[0], signal.SIGKILL)

    def replaced() -> bool:
        now = stack_of(detached)["pids"]["worker"]
        return len(now) == 2 and before[0] not in now

    assert wait_until(replaced, 20)
    assert f"(process {before[0]}) died" in (detached / ".coatcheck" / "logs" / "up.log").read_text()


def test_a_busy_port_that_was_asked_for_is_an_error_and_nothing_starts(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        done = coatcheck(folder, "up", "--port", str(port))
    assert done.returncode == 1 and str(port) in done.stderr
    assert nothing_left(folder)


@pytest.mark.parametrize("arguments", [(), ("--detach",)], ids=["in front", "detached"])
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["postgres.draft", "run/sv.sock"])
def test_an_interrupted_first_start_leaves_nothing(
    folder: Path, arguments: tuple[str, ...], stop: signal.Signals, moment: str
) -> None:
    # A shell starts what it runs in the background with SIGINT ignored, and that is inherited: here a user sits in front.
    heeding = "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    heeding += "runpy.run_module('cli', run_name='__main__')"
    command = [sys.executable, "-c", heeding, "up", "--workers", "1", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder, env=ENVIRONMENT) as process:
        assert wait_until((folder / ".coatcheck" / moment).exists, 20, 0.001)
        process.send_signal(stop)
        said, _ = process.communicate()
    assert process.returncode in (0, 130) and "ready api=" not in said
    assert nothing_left(folder)
    assert [pid for pid in psutil.pids() if is_of(pid, folder)] == []


def is_of(pid: int, folder: Path) -> bool:
    """Whether a process works in the folder or names it on its command line."""
    try:
        process = psutil.Process(pid)
        return any(str(folder) in place for place in (process.cwd(), *process.cmdline()))
    except (psutil.Error, OSError):
        return False


def test_ctrl_c_stops_all_of_it_and_the_next_start_has_the_same_key_and_jobs(folder: Path) -> None:
    first = run_in_front(folder, signal.SIGINT)
    assert nothing_left(folder)
    assert not (folder / ".coatcheck" / "stack.json").exists()
    second = run_in_front(folder, signal.SIGTERM)
    assert nothing_left(folder)
    assert (second["key"], second["jobs"]) == (first["key"], [*first["jobs"], *second["new"]])


def run_in_front(folder: Path, stop: signal.Signals) -> dict[str, Any]:
    """Start in the foreground, submit one job, stop by a signal."""
    command = [sys.executable, "-m", "cli", "up", "--workers", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder, env=ENVIRONMENT) as process:
        assert process.stdout is not None
        ready = next(line for line in process.stdout if line.startswith("ready "))
        found = dict(word.split("=", 1) for word in ready.split()[1:])
        with httpx.Client(base_url=found["api"], headers={"Authorization": f"Bearer {found['key']}"}) as client:
            body = {"model": "sim/fast", "messages": [{"role": "user", "content": "Hello"}]}
            job = client.post("/v1/jobs", json={"endpoint": "/v1/chat/completions", "body": body}).json()
            jobs = [listed["id"] for listed in client.get("/v1/jobs").json()["data"]]
        process.send_signal(stop)
        rest = process.stdout.read()
    assert process.returncode == 0 and "stopped in" in rest
    return {"key": found["key"], "jobs": jobs[::-1], "new": [job["id"]]}


def test_down_cleans_up_after_a_killed_up_also_with_several_api_processes(folder: Path) -> None:
    done = coatcheck(folder, "up", "--detach", "--workers", "1", "--api-workers", "2", timeout=90)
    assert done.returncode == 0, done.stderr
    assert wait_until(lambda: len(stack_of(folder)["pids"]["api"]) == 2, 20)
    holder = current_holder(folder / ".coatcheck")
    assert holder is not None
    os.kill(holder.pid, signal.SIGKILL)
    assert coatcheck(folder, "down").returncode == 0
    assert nothing_left(folder)
    assert "nothing is running" in coatcheck(folder, "down").stdout
