"""From a row in Postgres to a receiver and back into the log."""

import asyncio
import os
import socket
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from core import ids
from core.secrets import ENDPOINT_WEBHOOK, new_webhook_secret, secret_hint
from core.store.delivery_log import NotRedeliverable
from tests.integration.webhooks.conftest import SCHEDULE, TRACE, Pump, World
from tests.integration.webhooks.receivers import Received, always, answer, hang, receiving
from tests.support.servers import REPOSITORY
from workers.webhooks.lane import WebhookLane


def verified(request: Received, secret: str) -> Any:
    return Webhook(secret).verify(request.body, request.headers)


async def test_a_delivery_arrives_signed_and_is_recorded(world: World) -> None:
    async with receiving() as receiver:
        endpoint = await world.endpoint(receiver.url)
        [delivery_id] = await world.event(endpoint)
        assert await Pump(world.lane()).once() == 1
    [request] = receiver.requests
    assert verified(request, world.secrets[endpoint.id]) == {"a": "ä"}
    with pytest.raises(WebhookVerificationError):
        verified(request, new_webhook_secret())
    seen = await world.seen(delivery_id)
    assert request.headers["webhook-id"] == ids.encode("evt", seen.event_id)
    assert request.headers["content-type"] == "application/json"
    assert request.headers["traceparent"] == TRACE
    assert abs(int(request.headers["webhook-timestamp"]) - datetime.now(UTC).timestamp()) < 60
    assert (seen.status, seen.tries, seen.last_status, seen.last_error) == ("delivered", 1, 204, None)
    assert seen.delivered_at
    assert seen.last_duration_ms
    assert seen.next_try_at is None


async def test_a_jobs_own_url_is_signed_with_the_tenants_secret(world: World) -> None:
    async with receiving() as receiver:
        await world.event(None, url=receiver.url)
        await Pump(world.lane()).once()
    assert verified(receiver.requests[0], world.tenant_secret)


async def test_a_failed_try_waits_as_the_schedule_says_and_the_last_one_ends_it(world: World) -> None:
    async with receiving(answer(500)) as receiver:
        [delivery_id] = await world.event(await world.endpoint(receiver.url))
        pump = Pump(world.lane())
        for try_no, base in enumerate(SCHEDULE, start=1):
            await pump.once()
            seen = await world.seen(delivery_id)
            assert (seen.status, seen.tries, seen.last_status, seen.last_error) == (
                "pending",
                try_no,
                500,
                "http_error",
            )
            assert seen.next_try_at is not None
            wait = (seen.next_try_at - datetime.now(UTC)).total_seconds()
            assert base - 5 < wait <= base * 1.1
            assert await pump.once() == 0
            await world.make_due()
        await pump.once()
        seen = await world.seen(delivery_id)
        assert (seen.status, seen.tries, seen.next_try_at) == ("exhausted", len(SCHEDULE) + 1, None)
        assert len(set(receiver.ids())) == 1
        assert len({request.body for request in receiver.requests}) == 1


async def test_a_receivers_retry_after_is_honoured(world: World) -> None:
    async with receiving(answer(503, "Retry-After: 600")) as receiver:
        [delivery_id] = await world.event(await world.endpoint(receiver.url))
        await Pump(world.lane()).once()
        next_try_at = (await world.seen(delivery_id)).next_try_at
        assert next_try_at is not None
        assert 590 < (next_try_at - datetime.now(UTC)).total_seconds() <= 660


async def test_a_410_disables_the_endpoint_and_cancels_what_waits(world: World) -> None:
    async with receiving(answer(410)) as receiver, receiving() as other:
        gone, fine = await world.endpoint(receiver.url), await world.endpoint(other.url)
        await world.event(gone, count=40)
        await world.event(fine)
        pump = Pump(world.lane())
        while await pump.once():
            pass
        assert len(receiver.requests) <= 32
        now = await world.endpoints.get(world.tenant_id, gone.id)
        assert now is not None
        assert (now.enabled, now.disabled_reason) == (False, "gone")
        statuses = await world.statuses()
        assert statuses["delivered"] == 1
        assert statuses["exhausted"] + statuses["cancelled"] == 40
        # One that was written by a transaction that still saw the endpoint on is not sent either.
        [late] = await world.event(gone)
        sent = len(receiver.requests)
        await pump.once()
        assert (await world.seen(late)).last_error == "endpoint_disabled"
        assert len(receiver.requests) == sent


async def test_a_name_that_resolves_inside_is_recorded_as_blocked(world: World) -> None:
    async def inside(_: str, __: int) -> list[tuple[int, str]]:
        return [(socket.AF_INET, "10.0.0.1")]

    [delivery_id] = await world.event(None, url="https://hooks.example.com/")
    await Pump(world.lane(lookup=inside)).once()
    seen = await world.seen(delivery_id)
    assert (seen.status, seen.tries, seen.last_status, seen.last_error) == ("pending", 1, None, "blocked_address")


async def test_during_a_rotation_old_and_new_secret_both_verify(world: World) -> None:
    async with receiving() as receiver:
        endpoint = await world.endpoint(receiver.url)
        old, new = world.secrets[endpoint.id], new_webhook_secret()
        pump = Pump(world.lane())
        for keep_old, signatures in ((True, 2), (False, 1)):
            sealed = world.box.seal(new, tenant_id=world.tenant_id, purpose=ENDPOINT_WEBHOOK)
            await world.endpoints.rotate_secret(
                world.tenant_id, endpoint.id, secret=sealed, hint=secret_hint(new), keep_old=keep_old
            )
            await world.event(endpoint)
            await pump.once()
            request = receiver.requests[-1]
            assert len(request.headers["webhook-signature"].split(" ")) == signatures
            assert verified(request, new)
            if keep_old:
                assert verified(request, old)
            else:
                with pytest.raises(WebhookVerificationError):
                    verified(request, old)


async def test_an_old_secret_stops_signing_after_a_day(world: World) -> None:
    async with receiving() as receiver:
        endpoint = await world.endpoint(receiver.url)
        sealed = world.box.seal(new_webhook_secret(), tenant_id=world.tenant_id, purpose=ENDPOINT_WEBHOOK)
        await world.endpoints.rotate_secret(world.tenant_id, endpoint.id, secret=sealed, hint="x", keep_old=True)
        await world.sql("UPDATE webhook_endpoints SET old_secret_until = old_secret_until - interval '24 h 1 s'")
        await world.event(endpoint)
        await Pump(world.lane()).once()
        assert " " not in receiver.requests[0].headers["webhook-signature"]


async def test_a_redelivery_keeps_the_webhook_id(world: World) -> None:
    async with receiving(always(answer(500), answer(200), answer(200))) as receiver:
        [first] = await world.event(await world.endpoint(receiver.url))
        pump = Pump(world.lane())
        await pump.once()
        # Waiting: the same delivery is tried at once.
        again = await world.log.redeliver(world.tenant_id, first, ids.new_id())
        assert again is not None
        assert again.id == first
        await pump.once()
        # Ended: a new line in the log.
        again = await world.log.redeliver(world.tenant_id, first, ids.new_id())
        assert again is not None
        assert again.id != first
        await pump.once()
        assert (await world.seen(again.id)).status == "delivered"
        assert len(receiver.requests) == 3
        assert len(set(receiver.ids())) == 1


async def test_what_belongs_to_a_deleted_endpoint_is_cancelled_and_not_redelivered(world: World) -> None:
    async with receiving() as receiver:
        endpoint = await world.endpoint(receiver.url)
        [delivery_id] = await world.event(endpoint)
        assert await world.endpoints.remove(world.tenant_id, endpoint.id)
        assert await Pump(world.lane()).once() == 0
        seen = await world.seen(delivery_id)
        assert (seen.status, seen.last_error) == ("cancelled", "endpoint_deleted")
        with pytest.raises(NotRedeliverable):
            await world.log.redeliver(world.tenant_id, delivery_id, ids.new_id())
        assert receiver.connections == 0


async def test_the_deliveries_of_a_killed_sender_go_out_again_under_the_same_id(
    world: World, database_url: str, pumping: Callable[[WebhookLane], Pump]
) -> None:
    async def first_three_hang(request: Received, writer: asyncio.StreamWriter) -> bool:
        return await (hang if len(receiver.requests) <= 3 else always(answer(200)))(request, writer)

    async with receiving(first_three_hang) as receiver:
        deliveries = await world.event(await world.endpoint(receiver.url), count=3)
        environment = os.environ | {
            "COATCHECK_DATABASE_URL": database_url,
            "COATCHECK_SECRET_KEY": world.secret_key,
            "COATCHECK_WEBHOOK_ALLOW_RANGES": "127.0.0.0/8",
            "COATCHECK_WEBHOOK_LEASE_S": "1",
        }
        program = "tests.integration.webhooks.sending_process"
        process = await asyncio.create_subprocess_exec(sys.executable, "-m", program, env=environment, cwd=REPOSITORY)
        await receiver.until(lambda r: len(r.requests) == 3)
        process.kill()
        await process.wait()
        pumping(world.lane())
        await receiver.until(lambda r: len(r.requests) == 6)
        assert sorted(receiver.ids()[:3]) == sorted(receiver.ids()[3:])
    await world.until_statuses({"delivered": 3})
    assert [(await world.seen(delivery)).tries for delivery in deliveries] == [1, 1, 1]


async def test_two_senders_send_nothing_twice(world: World, pumping: Callable[[WebhookLane], Pump]) -> None:
    async with receiving() as receiver:
        for _ in range(4):
            await world.event(await world.endpoint(receiver.url), count=100)
        for _ in range(2):
            pumping(world.lane())
        await world.until_statuses({"delivered": 400})
        assert len(receiver.ids()) == len(set(receiver.ids())) == 400


async def test_a_sender_that_lost_its_lease_records_nothing(world: World) -> None:
    go = asyncio.Event()

    async def slow_failure(_: Received, writer: asyncio.StreamWriter) -> bool:
        first = len(receiver.requests) == 1
        if first:
            await go.wait()
        writer.write(answer(500 if first else 200))
        return True

    async with receiving(slow_failure) as receiver:
        [delivery_id] = await world.event(await world.endpoint(receiver.url))
        frozen, living = Pump(world.lane()), Pump(world.lane())
        await frozen.lane.claim_and_send(10)
        await receiver.until(lambda r: len(r.requests) == 1)
        await world.end_leases()
        await living.once()
        go.set()
        await frozen.settled()
        seen = await world.seen(delivery_id)
        assert (seen.status, seen.tries, seen.last_status) == ("delivered", 1, 200)


async def test_a_shutdown_hands_back_without_counting_a_try(world: World) -> None:
    async with receiving(hang) as receiver:
        [delivery_id] = await world.event(await world.endpoint(receiver.url))
        lane = world.lane()
        await lane.claim_and_send(10)
        await receiver.until(lambda r: len(r.requests) == 1)
        await lane.drain(0.05)
        seen = await world.seen(delivery_id)
        assert (seen.status, seen.tries, seen.last_error) == ("pending", 0, None)
        assert seen.next_try_at is not None
        assert seen.next_try_at <= datetime.now(UTC)
        assert await lane.claim_and_send(10) == 0


async def test_a_delivery_is_counted_once_while_its_task_ends(world: World) -> None:
    """Counted twice it would leave fewer slots than none, and the engine would never stop filling them."""
    endpoint = await world.endpoint("http://127.0.0.1:9/")
    await world.sql("UPDATE webhook_endpoints SET enabled = false")
    await world.event(endpoint)
    lane = world.lane()
    assert await lane.claim_and_send(10) == 1
    # The try of a switched-off endpoint is over in one step, and its task is gone after the next.
    await asyncio.sleep(0)
    assert len(lane._unrecorded) == 1
    assert lane.in_flight == 1
    await Pump(lane).settled()


async def test_a_hanging_receiver_holds_at_most_32_tries_and_nobody_else(
    world: World, pumping: Callable[[WebhookLane], Pump]
) -> None:
    async with receiving(hang) as hanging, receiving() as fine:
        await world.event(await world.endpoint(hanging.url), count=300)
        for _ in range(2):
            pumping(world.lane(timeout_s=30))
        await hanging.until(lambda r: r.open_now == 32)
        await world.event(await world.endpoint(fine.url), count=200)
        await fine.until(lambda r: len(r.requests) == 200)
        assert hanging.most_open == 32


async def test_many_jobs_urls_on_one_host_share_its_room(world: World, pumping: Callable[[WebhookLane], Pump]) -> None:
    async with receiving(hang) as hanging:
        for number in range(50):
            await world.event(None, url=f"http://127.0.0.1:{hanging.port}/job/{number}?token={number}")
        pumping(world.lane())
        await hanging.until(lambda r: r.open_now == 32)
        assert hanging.most_open == 32


async def test_a_backlog_of_many_endpoints_is_emptied_in_small_rooms(world: World) -> None:
    async with receiving() as receiver:
        for _ in range(30):
            await world.event(await world.endpoint(receiver.url), count=3)
        pump = Pump(world.lane(), room=7)
        rounds = 0
        while await pump.once():
            rounds += 1
        assert rounds == 13
        assert await world.statuses() == {"delivered": 90}
        assert len(set(receiver.ids())) == 90


async def test_a_failing_endpoint_gets_less_room_until_it_answers_again(world: World) -> None:
    async with receiving(always(*[answer(500)] * 32, answer(200))) as receiver:
        endpoint = await world.endpoint(receiver.url)
        await world.event(endpoint, count=100)
        pump = Pump(world.lane())
        assert [await pump.once() for _ in range(4)] == [32, 1, 2, 8]


async def test_a_database_that_fails_at_the_commit_does_not_lose_the_outcome(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with receiving() as receiver:
        [delivery_id] = await world.event(await world.endpoint(receiver.url))
        pump = Pump(world.lane())
        record, failures = pump.lane._queue.finish, [OSError("away")]

        async def flaky(results: Any) -> Any:
            if failures:
                raise failures.pop()
            return await record(results)

        monkeypatch.setattr(pump.lane._queue, "finish", flaky)
        await pump.once()
        assert (await world.seen(delivery_id)).status == "delivered"
        assert len(receiver.requests) == 1


async def test_a_secret_of_another_key_fails_the_try_and_sends_nothing(world: World) -> None:
    async with receiving() as receiver:
        endpoint = await world.endpoint(receiver.url)
        await world.sql("UPDATE webhook_endpoints SET secret_encrypted = '\\x0102' WHERE id = :id", id=endpoint.id)
        [delivery_id] = await world.event(endpoint)
        await Pump(world.lane()).once()
        assert (await world.seen(delivery_id)).last_error == "secret_unreadable"
        assert receiver.connections == 0
