"""Doorbells over a real Redis that may stall, refuse, forget everything or be away."""

from collections.abc import Callable, Iterator

import pytest
from redis import Redis

from cli.stack.redis import EmbeddedRedis
from core.dispatch import Doorbell, publisher
from core.settings import Settings
from tests.support.proxy import Proxy
from tests.support.waiting import soon

StartDoorbell = Callable[[str], Doorbell]


@pytest.fixture
def proxy(redis: EmbeddedRedis) -> Iterator[Proxy]:
    with Proxy(str(redis.socket)) as running:
        yield running


@pytest.fixture
def broker(redis: EmbeddedRedis) -> Iterator["Redis"]:
    """The broker's database, to look into."""
    with Redis.from_url(redis.url_for(1)) as client:
        yield client


@pytest.fixture
def start_doorbell(settings: Settings) -> Iterator[StartDoorbell]:
    started: list[Doorbell] = []

    def start(broker_url: str) -> Doorbell:
        changed = settings.model_copy(update={"broker_url": broker_url, "broker_publish_timeout_s": 0.3})
        doorbell = Doorbell(publisher(changed))
        doorbell.start()
        started.append(doorbell)
        return doorbell

    yield start
    for doorbell in started:
        doorbell.stop()


def through(proxy: Proxy) -> str:
    return f"redis://127.0.0.1:{proxy.port}/1"


def test_a_ring_becomes_one_message_of_its_lane(
    start_doorbell: StartDoorbell, redis: EmbeddedRedis, broker: "Redis"
) -> None:
    doorbell = start_doorbell(redis.broker_url)
    doorbell.ring("bulk")
    soon(lambda: broker.llen("bulk") == 1)
    assert broker.llen("default") == 0


def test_a_storm_of_rings_becomes_a_few_messages(
    start_doorbell: StartDoorbell, redis: EmbeddedRedis, broker: "Redis"
) -> None:
    doorbell = start_doorbell(redis.broker_url)
    for _ in range(1000):
        doorbell.ring("default")
    soon(lambda: broker.llen("default") >= 1)
    doorbell.stop()
    assert broker.llen("default") < 500


def test_rings_arrive_after_redis_forgot_everything(
    start_doorbell: StartDoorbell, redis: EmbeddedRedis, broker: "Redis"
) -> None:
    """Only direct queues are used, so that no lost binding can swallow a message."""
    doorbell = start_doorbell(redis.broker_url)
    for _ in range(3):
        doorbell.ring("default")
        soon(lambda: broker.llen("default") == 1)
        broker.flushall()


@pytest.mark.parametrize("mode", ["stall", "reset"])
def test_a_broker_in_trouble_is_given_up_in_time_and_taken_up_again(
    start_doorbell: StartDoorbell, proxy: Proxy, broker: "Redis", mode: str
) -> None:
    doorbell = start_doorbell(through(proxy))
    doorbell.ring("default")
    soon(lambda: broker.llen("default") == 1)
    proxy.set(mode)  # type: ignore[arg-type]

    def given_up() -> bool:
        doorbell.ring("default")
        return not doorbell.up

    soon(given_up)
    proxy.set("pass")

    def rings_again() -> bool:
        doorbell.ring("bulk")
        return doorbell.up and broker.llen("bulk") > 0

    soon(rings_again)


def test_a_half_open_connection_is_replaced(start_doorbell: StartDoorbell, proxy: Proxy, broker: "Redis") -> None:
    doorbell = start_doorbell(through(proxy))
    doorbell.ring("default")
    soon(lambda: broker.llen("default") == 1)
    proxy.set("stall-existing")

    def rings_again() -> bool:
        doorbell.ring("bulk")
        return broker.llen("bulk") > 0

    soon(rings_again)


def test_a_broker_that_was_never_there_holds_nobody_up(start_doorbell: StartDoorbell) -> None:
    doorbell = start_doorbell("redis+socket:///nonexistent/redis.sock?virtual_host=1")
    for _ in range(100):
        doorbell.ring("default")
    soon(lambda: not doorbell.up)
    doorbell.stop()
