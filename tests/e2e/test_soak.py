"""A short soak: faults of one seed under load, and then every promise is checked. `make soak` runs longer ones."""

from pathlib import Path

import pytest

from tests.soak.plan import KINDS, draw
from tests.soak.run import soak

SEED = 1
SECONDS = 20.0


@pytest.mark.timeout(240)
async def test_whatever_goes_wrong_every_promise_is_kept(tmp_path: Path) -> None:
    outcome = await soak(SEED, SECONDS, tmp_path)
    assert outcome.violations == []
    # Otherwise it would show nothing.
    kinds = {"plain", "streamed", "cached", "one at a time", "late", "doomed", "short-lived", "bulk"}
    assert kinds <= set(outcome.kinds)
    assert outcome.jobs["succeeded"] > 100
    assert outcome.jobs["failed"] > 0


def test_a_seed_stands_for_the_same_faults_each_time() -> None:
    assert draw(7, 600) == draw(7, 600)
    assert draw(7, 600) != draw(8, 600)


def test_a_target_has_one_fault_at_a_time_and_all_are_over_in_time() -> None:
    for seed in range(20):
        faults = draw(seed, 120)
        for target in {fault.target for fault in faults}:
            ends = 0.0
            for fault in (one for one in faults if one.target == target):
                assert fault.at_s >= ends
                ends = fault.at_s + fault.for_s
                assert ends <= 120.02


def test_a_long_soak_meets_every_kind_of_fault() -> None:
    met = {(fault.name, fault.target) for fault in draw(3, 1800)}
    assert met == {(kind.name, target) for kind in KINDS for target in kind.targets}
