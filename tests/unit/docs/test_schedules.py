"""docs/schedules.md against the code: its schedules can be made, and its numbers are those of the code."""

import json
import re

import pytest

from api.schemas.schedules import NewSchedule
from core.store.asks import MOST_EACH, MOST_ENTRIES, WITHIN_S
from policies.forecast import HALF_LIFE_WEEKS, Plan
from tests.support.servers import REPOSITORY

PAGE = (REPOSITORY / "docs" / "schedules.md").read_text(encoding="utf-8")
SCHEDULES = re.findall(r"^```json\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("text", SCHEDULES)
def test_the_schedules_of_the_page_are_valid(text: str) -> None:
    NewSchedule.model_validate(json.loads(text))


def test_the_numbers_of_the_page_are_those_of_the_code() -> None:
    assert (MOST_EACH, MOST_ENTRIES, WITHIN_S, HALF_LIFE_WEEKS, Plan().least) == (5000, 5000, 5.0, 3.0, 0.6)
    for told in (
        "newest 5,000 jobs",
        "weighs the 5,000 entries",
        "more than five seconds",
        "half-life of three",
        "60 %",
    ):
        assert told in " ".join(PAGE.split())
