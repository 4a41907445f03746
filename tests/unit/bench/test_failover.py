from bench.measures.failover import _figures
from bench.upstreams import Ended

DIED = 1000.0


def ended(took_s: float = 0.2, **unlike: float) -> list[Ended]:
    """Two hundred jobs a second from 8 s before the death to 12 s after it; `unlike` are seconds to what jobs took then."""
    jobs = []
    for number in range(4000):
        came = DIED - 8 + number / 200
        wrong = next((took for name, took in unlike.items() if int(name.removeprefix("s")) == int(came - DIED)), took_s)
        jobs.append(Ended("succeeded", came, came + (wrong if came >= DIED else took_s)))
    return jobs


def numbers(jobs: list[Ended]) -> dict[str, float]:
    return {figure.name: round(figure.value, 1) for figure in _figures(jobs, DIED)}


def test_a_death_that_nobody_notices_takes_no_time() -> None:
    assert numbers(ended()) == {
        "failed jobs when one of three deployments dies": 0,
        "until p99 is back to normal": 0,
        "slowest job after the death": 200,
    }


def test_the_last_slow_slice_ends_the_trouble() -> None:
    seen = numbers(ended(s0=3.0, s2=0.9))
    assert seen["until p99 is back to normal"] == 3.0
    assert seen["slowest job after the death"] == 3000


def test_a_job_that_failed_is_counted() -> None:
    jobs = ended()
    jobs[2000] = Ended("failed", jobs[2000].came, jobs[2000].ended)
    assert numbers(jobs)["failed jobs when one of three deployments dies"] == 1
