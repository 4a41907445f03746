"""Real supervisord, tiny programs."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from cli.stack.folders import private_folder, socket_folder
from cli.stack.leftovers import MARK, end_leftovers, leftover_processes
from cli.stack.programs import Program
from cli.stack.report import Report
from cli.stack.server import ServerCommand, wait_until
from cli.stack.supervisor import Supervisor
from cli.stack.watch import Watch

SLEEPER = (
    "import pathlib, signal, sys, time\n"
    "def end(*_):\n"
    "    with open('order', 'a') as file: file.write(sys.argv[1] + '\\n')\n"
    "    sys.exit(0)\n"
    "signal.signal(signal.SIGTERM, end)\n"
    "pathlib.Path(sys.argv[1] + '.up').touch()\n"
    "time.sleep(600)\n"
)


def sleeper(name: str, priority: int) -> Program:
    return Program(name, ServerCommand((sys.executable, "sleeper.py", name), Path()), priority)


class Run:
    """A supervisor in a folder, and what was said about it."""

    def __init__(self, folder: Path, programs: list[Program]) -> None:
        self.folder = folder
        private_folder(folder / "logs")
        (folder / "sleeper.py").write_text(SLEEPER)
        self.supervisor = Supervisor(folder, socket_folder(folder), programs)
        self.said: list[str] = []
        self.watch = Watch(self.supervisor, folder, SpokenReport(self.said))
        self.supervisor.start({**os.environ, MARK: str(folder)})
        for program in programs:
            self.supervisor.start_program(program.name)

    def until(self, condition: Callable[[], bool]) -> None:
        def settled() -> bool:
            self.watch.look()
            return condition()

        assert wait_until(settled, 20), self.said

    def state(self, name: str) -> tuple[str, int]:
        return next((state.state, state.pid) for state in self.supervisor.states() if state.name == name)


class SpokenReport(Report):
    def __init__(self, said: list[str]) -> None:
        super().__init__()
        self._said = said

    def _say(self, markup: str) -> None:
        self._said.append(markup)


@pytest.fixture
def run(folder: Path) -> Iterator[Callable[..., Run]]:
    runs: list[Run] = []

    def start(*programs: Program) -> Run:
        runs.append(Run(folder, list(programs)))
        return runs[-1]

    yield start
    for made in runs:
        made.supervisor.stop(10)


def test_programs_stop_one_after_the_other_the_highest_priority_first(run: Callable[..., Run]) -> None:
    made = run(sleeper("last", 1), sleeper("first", 9), sleeper("middle", 5))
    made.until(lambda: len(list(made.folder.glob("*.up"))) == 3)
    assert made.supervisor.stop(10)
    assert (made.folder / "order").read_text().split() == ["first", "middle", "last"]
    assert leftover_processes(made.folder) == []


def test_a_killed_program_is_restarted_and_said_so(run: Callable[..., Run]) -> None:
    made = run(sleeper("worker", 1))
    made.until(lambda: made.state("worker")[0] == "RUNNING")
    before = made.state("worker")[1]
    os.kill(before, signal.SIGKILL)
    made.until(lambda: made.watch.pids().worker not in ([], [before]))
    assert any(f"process {before}) died" in line for line in made.said)
    assert made.watch.pids().worker == [made.state("worker")[1]]


def test_a_program_that_keeps_failing_is_given_up_with_the_end_of_its_log(run: Callable[..., Run]) -> None:
    failing = ServerCommand((sys.executable, "-c", "raise SystemExit('no key')"), Path())
    made = run(Program("api", failing, 1, retries=1))
    made.until(partial(made.watch.gave_up, "api"))
    assert made.watch.failed_programs() == ["api"]
    assert any("keeps failing" in line and "no key" in line for line in made.said)


def test_everything_ends_when_the_supervisor_is_killed(run: Callable[..., Run]) -> None:
    made = run(sleeper("worker", 1))
    made.until((made.folder / "worker.up").exists)
    supervisor = psutil.Process(int((socket_folder(made.folder) / "supervisord.pid").read_text()))
    child = psutil.Process(made.state("worker")[1])
    supervisor.kill()
    assert psutil.wait_procs([child], timeout=10)[1] == []


def test_what_a_killed_stack_left_is_found_and_ended(run: Callable[..., Run]) -> None:
    made = run(sleeper("worker", 1), sleeper("api", 2))
    made.until(lambda: len(list(made.folder.glob("*.up"))) == 2)
    assert len(leftover_processes(made.folder)) == 3
    end_leftovers(made.folder)
    assert leftover_processes(made.folder) == []
    assert list(socket_folder(made.folder).iterdir()) == []
    assert (made.folder / "order").read_text().split() == ["api", "worker"]
