"""The diagram of `docs/lifecycle.md` against the table of moves."""

import re
from pathlib import Path

from core.lifecycle import MOVES, TERMINAL, Move, Status

TEXT = (Path(__file__).parents[3] / "docs" / "lifecycle.md").read_text()
ARROW = re.compile(r"^\s*(\S+) --> (\S+?)(?: : (\w+))?$", re.MULTILINE)
OUTSIDE = "[*]"


def arrows() -> list[tuple[str, str, str]]:
    """From, to and label of each arrow of the diagram."""
    diagram = re.search(r"```mermaid\nstateDiagram-v2\n(.*?)```", TEXT, re.DOTALL)
    assert diagram is not None
    found = ARROW.findall(diagram[1])
    assert len(found) == len(diagram[1].strip().splitlines()), "a line of the diagram is no arrow"
    return found


def test_the_diagram_has_exactly_the_moves_of_the_code() -> None:
    drawn = [arrow for arrow in arrows() if OUTSIDE not in arrow]
    coded = {(str(start), str(end), str(move)) for move, (starts, end) in MOVES.items() for start in starts}
    assert set(drawn) == coded
    assert len(drawn) == len(coded)


def test_the_diagram_begins_where_jobs_begin_and_ends_where_they_end() -> None:
    assert [end for start, end, _ in arrows() if start == OUTSIDE] == [Status.QUEUED]
    assert {start for start, end, _ in arrows() if end == OUTSIDE} == set(TERMINAL)


def test_every_move_and_every_terminal_event_is_explained() -> None:
    rows = " ".join(line.split("|")[1] for line in TEXT.splitlines() if line.startswith("| `"))
    told = set(re.findall(r"`([a-z_.]+)`", rows))
    assert {str(move) for move in Move} <= told
    assert {f"job.{status}" for status in TERMINAL} <= told
