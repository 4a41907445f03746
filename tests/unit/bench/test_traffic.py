import pytest

from bench.traffic import BURST, SHAPES


@pytest.mark.parametrize("shape", SHAPES)
def test_the_same_traffic_is_sent_to_everybody(shape: str) -> None:
    moments = SHAPES[shape](200.0, 5.0)
    assert moments == SHAPES[shape](200.0, 5.0) == sorted(moments)
    assert moments[0] >= 0 and moments[-1] <= 5.0


def test_traffic_has_the_rate_that_was_asked_for() -> None:
    assert len(SHAPES["steady"](200.0, 5.0)) == 1000
    assert len(SHAPES["bursty"](200.0, 50.0)) == pytest.approx(10_000, rel=0.1)
    ramp = SHAPES["ramp"](200.0, 5.0)
    assert len(ramp) == 500
    assert sum(moment > 4 for moment in ramp) == pytest.approx(180, rel=0.15)


def test_crowds_come_at_one_moment() -> None:
    moments = SHAPES["bursty"](100.0, 5.0)
    assert all(moments.count(moment) == BURST for moment in set(moments))
