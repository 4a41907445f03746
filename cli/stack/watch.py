"""Noticing that a supervised process died, was restarted, or keeps failing."""

from pathlib import Path

import psutil

from cli.stack.report import Report
from cli.stack.server import last_lines
from cli.stack.state import Pids
from cli.stack.supervisor import ProcessState, Supervisor

STOPPED = frozenset({"STOPPING", "STOPPED"})


class Watch:
    """Compares supervisord's view from one look to the next and says what changed."""

    def __init__(self, supervisor: Supervisor, root: Path, report: Report) -> None:
        self._supervisor = supervisor
        self._root = root
        self._report = report
        self._states: dict[str, ProcessState] = {}
        self._down: set[str] = set()

    def look(self) -> bool:
        """Ask supervisord if it has logged anything; True if a process has another id or state than before."""
        if not self._supervisor.something_happened():
            return False
        new = {state.name: state for state in self._supervisor.states()}
        if not new:
            return False
        changed = [state for name, state in new.items() if state != self._states.get(name)]
        for state in changed:
            self._say(self._states.get(state.name), state)
        self._states = new
        return bool(changed)

    def gave_up(self, program: str) -> bool:
        """Whether a program failed so often in a row that supervisord has stopped trying."""
        return any(state.group == program and state.state == "FATAL" for state in self._states.values())

    def failed_programs(self) -> list[str]:
        """Programs that supervisord has stopped trying to start."""
        return sorted({state.group for state in self._states.values() if state.state == "FATAL"})

    def pids(self) -> Pids:
        """The process ids for stack.json."""
        one = {group: next(iter(self._of(group)), None) for group in ("beat", "flower", "postgres", "redis")}
        return Pids(api=self._serving(), worker=self._of("worker"), **one)

    def _of(self, group: str) -> list[int]:
        return [state.pid for state in self._states.values() if state.group == group and state.pid]

    def _serving(self) -> list[int]:
        """The processes that answer requests: the API's children where it has several, else itself."""
        main = self._of("api")
        if not main:
            return []
        try:
            children = psutil.Process(main[0]).children()
            serving = [child.pid for child in children if "resource_tracker" not in " ".join(child.cmdline())]
        except psutil.Error:
            return main
        return serving or main

    def _say(self, old: ProcessState | None, new: ProcessState) -> None:
        before = old.pid if old is not None else 0
        if new.state == "FATAL":
            log = self._root / "logs" / f"{new.name}.log"
            self._report.warn(
                f"{new.name} keeps failing and is tried again later; {log} ends with:\n{last_lines(log, 3)}"
            )
        elif before and new.pid and before != new.pid:
            self._report.warn(f"{new.name} (process {before}) died; restarted as process {new.pid}")
        elif before and not new.pid and new.state not in STOPPED:
            self._report.warn(f"{new.name} (process {before}) died; starting it again")
            self._down.add(new.name)
        elif new.state == "RUNNING" and new.name in self._down:
            self._report.note(f"{new.name} runs again as process {new.pid}")
            self._down.discard(new.name)
