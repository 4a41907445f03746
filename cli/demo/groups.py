"""Groups of jobs: handed over in one request, followed to their end, read back one by one."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from cli.demo.api import Json, accepted, ensure
from cli.demo.scenery import ENDED, POLL_S, Scenery

PATIENCE_S = 40.0


@dataclass(frozen=True, slots=True)
class Group:
    """A group that is over. `jobs` in the order in which they were handed over."""

    ended: Json
    jobs: list[Json]

    @property
    def seconds(self) -> float:
        """From the group's acceptance to the end of its last job."""
        return (_moment(self.ended["finished_at"]) - _moment(self.ended["created_at"])).total_seconds()


def run_group(scenery: Scenery, requests: Iterable[Json]) -> Group:
    """Submit jobs together and wait until all have succeeded. Raises DemoFailed unless they do."""
    asked = list(requests)
    return finished(scenery, accepted(scenery.api.post_lines("/v1/jobs/bulk", asked)), len(asked))


def finished(scenery: Scenery, group: Json, total: int, doing: str = "") -> Group:
    """Wait for a group of `total` jobs and read it; `doing` as for `wait_for_group`. Raises DemoFailed unless all succeeded."""
    ended = wait_for_group(scenery, group, doing)
    ensure(counts(ended) == {"succeeded": total}, f"the group ended as {counts(ended)}")
    jobs = list(scenery.api.pages(f"/v1/jobs?group_id={group['id']}"))[::-1]
    ensure(len({job["id"] for job in jobs}) == total, f"the group lists {len(jobs)} jobs")
    return Group(ended, jobs)


def wait_for_group(scenery: Scenery, group: Json, doing: str = "") -> Json:
    """Follow a group to its end, showing how many jobs have ended if it says what they are `doing`.

    Raises DemoFailed when it takes too long.
    """
    deadline = time.monotonic() + PATIENCE_S
    with scenery.show.counting(doing, group["total"]) as update:
        while True:
            found = scenery.api.get(f"/v1/groups/{group['id']}").body
            update(sum(count for status, count in found["counts"].items() if status in ENDED))
            if found["status"] != "running":
                return found
            ensure(time.monotonic() < deadline, f"after {PATIENCE_S:.0f} s the group stands at {found['counts']}")
            time.sleep(5 * POLL_S)


def counts(group: Json) -> dict[str, int]:
    """The statuses that the group's jobs have, each with how many."""
    return {status: count for status, count in group["counts"].items() if count}


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
