"""docs/caching.md against the code: what it shows is accepted, and what it lists is all there is."""

import json
import re
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from api.routes.cache import Invalidation
from api.schemas.answers.jobs import CacheState
from api.schemas.job_request import CacheOptions, JobRequest
from api.schemas.schedules import NewSchedule
from core.settings import CacheSettings
from policies.cache_policy import NO_CACHE, cache_plan
from tests.support.servers import REPOSITORY
from workers.schedules.clock import _PREWARM_PER_S

PAGE = (REPOSITORY / "docs" / "caching.md").read_text(encoding="utf-8")
SHOWN = [json.loads(text) for text in re.findall(r"^```json\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)]


def first_column(heading: str) -> list[str]:
    """The words in the first column of the table below a heading."""
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)


@pytest.mark.parametrize("shown", SHOWN)
def test_what_the_page_shows_is_accepted(shown: dict[str, Any]) -> None:
    models: dict[str, type[BaseModel]] = {"kind": NewSchedule, "endpoint": JobRequest, "similarity": CacheState}
    model = next((model for member, model in models.items() if member in shown), Invalidation)
    model.model_validate(shown)


def test_the_page_lists_every_status_and_every_mode() -> None:
    assert set(first_column("A first hit")) == set(get_args(CacheState.model_fields["status"].annotation))
    assert set(first_column("Modes")) == set(get_args(CacheOptions.model_fields["mode"].annotation))


@pytest.mark.parametrize("mode", first_column("Modes"))
def test_modes_look_and_keep_as_the_page_says(mode: str) -> None:
    row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{mode}` |"))
    looks, keeps = (word.strip() == "yes" for word in row.split("|")[2:4])
    plan = cache_plan({"mode": mode}, "/v1/embeddings", {"model": "m", "input": "a"})
    assert (plan.look, plan.keep) == (looks, keeps)


def test_numbers_of_the_page_are_those_of_the_code() -> None:
    settings = CacheSettings()
    assert (settings.ttl_s, settings.tenant_bytes, settings.entry_bytes) == (86_400, 64 * 2**20, 4 * 2**20)
    assert settings.wait_s == 0.05 and _PREWARM_PER_S == 200
    for told in ("else a day", "weigh 64 MB", "over 4 MB", "50 ms", "at most 200 jobs a second"):
        assert told in " ".join(PAGE.split())


def test_a_chat_that_may_vary_is_not_cached_unless_somebody_says_so() -> None:
    body = {"model": "m", "messages": []}
    assert cache_plan(None, "/v1/chat/completions", body) == NO_CACHE
    assert cache_plan({}, "/v1/chat/completions", body).keep
    assert cache_plan(None, "/v1/chat/completions", body | {"temperature": 0}).keep
