"""`coatcheck up`: the stack's life from its first process to the last."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from types import FrameType
from typing import Any, Never

from cli.stack.folders import private_folder, remove_socket_folder
from cli.stack.leftovers import end_leftovers
from cli.stack.lock import StackLock
from cli.stack.plan import StackPlan, UpOptions, make_plan
from cli.stack.report import Report
from cli.stack.server import ServerFailed, last_lines, wait_until
from cli.stack.state import Pids, StackFile, forget_stack_file
from cli.stack.supervisor import Supervisor
from cli.stack.watch import Watch
from cli.wording import counted

STOP_SECONDS = 13.0
TICK_SECONDS = 0.5
RETRY_TICKS = 30  # programs that failed too often are tried again
LOOK_UP_TICKS = 10  # the API restarts its own children, where it has several, without supervisord's knowledge
LANES_SECONDS = 10.0


class StopAsked(Exception):
    """SIGINT, SIGTERM or SIGHUP came."""


class Stack:
    """A stack: started step by step, watched, stopped in order."""

    def __init__(self, plan: StackPlan, report: Report) -> None:
        self.plan = plan
        self.report = report
        self.supervisor = Supervisor(plan.root, plan.sockets, plan.programs)
        self.watch = Watch(self.supervisor, plan.root, report)
        self._saved: Pids | None = None

    def start(self) -> None:
        """Bring everything up and write stack.json. Raises ServerFailed."""
        self._start_servers()
        self._prepare_database()
        for name in ("api", "worker", "beat", "flower"):
            self.supervisor.start_program(name)
        self._await("api", lambda: api_health(self.plan.api_url) is not None, 60)
        self._await_workers()
        self.report.step(f"API on {self.plan.api_url}, workers, beat and Flower")
        self.watch.look()
        self._save()

    def run(self) -> Never:
        """Watch until a signal comes. Raises StopAsked, or ServerFailed if the supervisor ends by itself."""
        tick = 0
        while True:
            time.sleep(TICK_SECONDS)
            tick += 1
            if not self.supervisor.is_alive():
                raise ServerFailed(f"the supervisor ended; see {self.supervisor.log}")
            if self.watch.look() or tick % LOOK_UP_TICKS == 0:
                self._save()
            if tick % RETRY_TICKS == 0:
                for name in self.watch.failed_programs():
                    self.supervisor.start_program(name)

    def stop(self) -> None:
        """Stop everything in order; afterwards there is no process and no socket left."""
        root = self.plan.root
        forget_stack_file(root)
        began = time.monotonic()
        in_order = self.supervisor.stop(STOP_SECONDS)
        end_leftovers(root, seconds=1)
        remove_socket_folder(root)
        took = f"{time.monotonic() - began:.1f} s"
        if in_order:
            self.report.note(f"stopped in {took}; the data stay in {root}")
        else:
            self.report.warn(f"stopped by force after {took}; the data stay in {root}")

    def ready_line(self) -> str:
        """The one line that `up` prints when everything answers."""
        plan = self.plan
        return f"ready api={plan.api_url} key={plan.secrets.api_key} flower={plan.flower_url} docs={plan.api_url}/docs"

    def _start_servers(self) -> None:
        plan, supervisor = self.plan, self.supervisor
        for server in (plan.postgres, plan.redis):
            if server is not None:
                server.prepare()
        supervisor.start(plan.environment)
        names = {program.name for program in plan.programs} & {"postgres", "redis", "simulator"}
        for name in sorted(names):
            supervisor.start_program(name)
        if plan.postgres is not None:
            self._await("postgres", plan.postgres.is_ready, 60)
            self.report.step(f"Postgres, data in {plan.postgres.cluster}")
        if plan.redis is not None:
            self._await("redis", plan.redis.is_ready, 10)
            self.report.step("Redis, on a private socket")
        if plan.simulator_port is not None:
            self.report.note(
                "the catalog has no `openai` deployment, so the simulator runs: its models are called sim/…"
            )

    def _prepare_database(self) -> None:
        secrets = self.plan.secrets
        done = subprocess.run(
            [sys.executable, "-m", "cli.stack.prepare"],
            cwd=self.plan.root,
            env=self.plan.environment,
            input=json.dumps({"api_key": secrets.api_key}),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if done.returncode != 0:
            end = "\n".join(done.stderr.strip().splitlines()[-4:])
            raise ServerFailed(f"the database can't be prepared: {end}")
        made = json.loads(done.stdout.splitlines()[-1])
        secrets.api_key, secrets.webhook_secret = made["api_key"], made["webhook_secret"]
        secrets.save(self.plan.root)
        self.report.step("database schema")

    def _await(self, name: str, ready: Callable[[], bool], seconds: float) -> None:
        """Wait for a program. Raises ServerFailed with the end of its log."""

        def settled() -> bool:
            self.watch.look()
            return ready() or self.watch.gave_up(name) or not self.supervisor.is_alive()

        if not wait_until(settled, seconds, pause=0.05) or not ready():
            log = self.plan.root / "logs" / f"{name}.log"
            raise ServerFailed(f"{name} did not start; {log} ends with:\n{last_lines(log, 4)}")

    def _await_workers(self) -> None:
        """Wait until somebody serves every lane; without that jobs are accepted and wait, so it is only a warning."""

        def missing() -> list[str]:
            health = api_health(self.plan.api_url) or {}
            return [part for part in health.get("degraded", []) if str(part).startswith("lane:")]

        def served() -> bool:
            self.watch.look()
            return not missing()

        if not wait_until(served, LANES_SECONDS, pause=0.1):
            self.report.warn(f"no worker serves {', '.join(missing())} yet; see {self.plan.root / 'logs'}")

    def _save(self) -> None:
        plan, pids = self.plan, self.watch.pids()
        if pids == self._saved:
            return
        self._saved = pids
        StackFile(
            api_url=plan.api_url,
            api_key=plan.secrets.api_key or "",
            webhook_secret=plan.secrets.webhook_secret,
            flower_url=plan.flower_url,
            metrics_url=f"{plan.api_url}/metrics",
            database_url=plan.database_url,
            redis_url=plan.redis_url,
            broker_url=plan.broker_url,
            pids=pids,
        ).save(plan.root)


def run_stack(options: UpOptions, report: Report) -> None:
    """Run a stack until a signal stops it.

    Raises StackHeld, PortTaken, FolderRefused, ValueError and ServerFailed, with nothing left running.
    """
    os.umask(0o077)  # whatever the stack writes, logs included, is for this user only
    lock = StackLock(private_folder(options.root)).acquire()
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _ask_to_stop)
        forget_stack_file(options.root)
        if (count := end_leftovers(options.root)) > 0:
            report.note(f"ended {counted(count, 'process', 'processes')} that an earlier stack had left")
        stack = Stack(make_plan(options), report)
        lock.tell(stack.plan.api_url)
        try:
            stack.start()
            report.ready(stack.ready_line())
            stack.run()
        finally:
            _ignore_signals()
            stack.stop()
    except StopAsked:
        return
    finally:
        lock.release()


def api_health(url: str) -> dict[str, Any] | None:
    """What /readyz says, or None while it doesn't say 200."""
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=2) as answer:  # noqa: S310 - our own http URL
            health = json.loads(answer.read())
    except (OSError, ValueError):
        return None
    return health if isinstance(health, dict) else {}


def _ask_to_stop(number: int, _frame: FrameType | None) -> Never:
    _ignore_signals()
    raise StopAsked(signal.Signals(number).name)


def _ignore_signals() -> None:
    """Stopping is under way and takes at most 15 seconds; a second Ctrl-C would only leave processes behind."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
