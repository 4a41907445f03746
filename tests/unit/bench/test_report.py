import json
import math
from io import StringIO
from pathlib import Path

from rich.console import Console

from bench.figures import Figure, Must
from bench.report import print_report, write_json

FIGURES = [
    Figure("enqueue", "accepted jobs", 5200, "/s", Must("≥", 3500), 800, "128 clients"),
    Figure("enqueue", "POST, p50", 1.9, "ms", Must("≤", 1.5), None, "128 clients"),
    Figure("idle", "CPU", math.nan, "%"),
]


def printed(figures: list[Figure]) -> str:
    output = StringIO()
    print_report(Console(file=output, width=150), figures, {"cores": 2, "load_average_before": [0.1, 0.2, 0.3]})
    return output.getvalue()


def test_the_table_shows_the_goal_the_verdict_and_the_baseline_beside_the_number() -> None:
    line = next(line for line in printed(FIGURES).splitlines() if "accepted jobs" in line)
    assert [cell.strip() for cell in line.split("│")][2:-1] == [
        "accepted jobs",
        "5,200 /s",
        "≥ 3,500",
        "yes",
        "800",
        "6.50",
    ]


def test_a_missed_goal_and_a_missing_number_are_said_aloud() -> None:
    text = printed(FIGURES)
    assert "NO" in text
    assert "1 of 2 goals reached" in text
    assert "something could not be measured" in text


def test_a_note_is_told_once() -> None:
    assert printed(FIGURES).count("128 clients") == 1


def test_the_json_holds_machine_and_figures(tmp_path: Path) -> None:
    write_json(tmp_path / "new" / "latest.json", FIGURES, {"cores": 2}, quick=True)
    told = json.loads((tmp_path / "new" / "latest.json").read_text())
    assert told["machine"] == {"cores": 2}
    assert told["quick"] is True
    assert [figure["passed"] for figure in told["figures"]] == [True, False, None]
