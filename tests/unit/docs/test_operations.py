"""`docs/operations.md`, the README and the other documents against the code: what they name exists."""

import re
from pathlib import Path

import pytest

from core.telemetry.metrics import REGISTRY, merge, snapshot

ROOT = Path(__file__).parents[3]
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]
SETTING = re.compile(r"\bCOATCHECK_[A-Z0-9_]*[A-Z0-9]\b(?!_)")
TESTS = {
    f"{path.name}::{name}"
    for path in (ROOT / "tests").rglob("test_*.py")
    for name in re.findall(r"^\s*(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE)
}


def series() -> set[str]:
    """The metrics' names as they stand on the page."""
    page = merge([("api-1", snapshot())], [("default", 0, 0.0)]).decode()
    return {line.split()[2] for line in page.splitlines() if line.startswith("# TYPE ")}


def test_every_metric_is_documented_and_no_other() -> None:
    documented = re.findall(r"^\| `(coatcheck_\w+)` \|", OPERATIONS, re.MULTILINE)
    assert sorted(documented) == sorted(series())
    assert len(series()) >= len(list(REGISTRY.collect()))


def test_alerts_use_metrics_that_exist() -> None:
    alerts = OPERATIONS.split("## Alerts")[1].split("\n## ")[0]
    used = set(re.findall(r"\bcoatcheck_\w+", alerts))
    assert used and used <= series()


def test_every_known_failure_of_celery_over_redis_is_answered() -> None:
    rows = re.findall(r"^\| (R\d+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", OPERATIONS, re.MULTILINE)
    assert [number for number, *_ in rows] == [f"R{n}" for n in range(1, 32)]
    assert all(answer.strip() not in {"", "—"} for _, _, answer, _ in rows)
    untested = {number for number, _, _, test in rows if "::" not in test}
    assert not untested & {"R1", "R2", "R5", "R6", "R10", "R12", "R13", "R15"}


@pytest.mark.parametrize("name", NAMES)
def test_every_test_that_is_named_exists(name: str) -> None:
    named = set(re.findall(r"\b(test_\w+\.py::test_\w+)", (ROOT / name).read_text()))
    assert named <= TESTS


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_that_is_named_exists(name: str) -> None:
    known = set(SETTING.findall((ROOT / ".env.example").read_text()))
    assert set(SETTING.findall((ROOT / name).read_text())) <= known


@pytest.mark.parametrize("name", NAMES)
def test_every_link_inside_the_repository_leads_somewhere(name: str) -> None:
    path = ROOT / name
    for target in re.findall(r"\]\((?!https?://)([^)#]*)(?:#[^)]*)?\)", path.read_text()):
        assert not target or (path.parent / target).exists(), target


@pytest.mark.parametrize("name", NAMES)
def test_every_anchor_in_the_same_document_exists(name: str) -> None:
    text = (ROOT / name).read_text()
    headings = {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= headings
