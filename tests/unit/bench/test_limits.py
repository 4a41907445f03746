from hypothesis import given
from hypothesis import strategies as st

from bench.measures.limits import Grant, fullest

grants = st.lists(st.builds(Grant, st.floats(0, 300), st.just(0), st.integers(0, 100), st.just(0.0)), max_size=40)


@given(grants)
def test_the_fullest_minute_is_found_wherever_it_begins(told: list[Grant]) -> None:
    best = max((sum(o.used for o in told if g.at - 60 < o.at <= g.at) for g in told), default=0)
    assert fullest(told) == best
