"""The first steps of the demo: a document, a stream, a webhook."""

import statistics
import time

from standardwebhooks import Webhook, WebhookVerificationError

from cli.client import ApiClient
from cli.demo.api import DemoFailed, Json, accepted, accepted_ms, chat, ensure, text_of
from cli.demo.receiver import Delivery
from cli.demo.scenery import ENDED, POLL_S, Scenery
from cli.target import ApiTarget

_PATIENCE_S = 20.0
_WEBHOOK_S = 10.0
_AGAIN = 50
_OWN = "/job"
_REGISTERED = "/group"


def register(scenery: Scenery) -> str:
    """Register the receiver for finished groups; return the secret that signs them."""
    answer = scenery.api.post(
        "/v1/webhook_endpoints", {"url": scenery.receiver.url(_REGISTERED), "event_types": ["group.completed"]}
    )
    return str(answer.body["signing_secret"])


def document(scenery: Scenery) -> None:
    """Two jobs for one document: hand over, poll the one, wait for the other."""
    show, api = scenery.show, scenery.api
    show.scene("A document goes in, a ticket comes out")
    text = scenery.text("street-trees.md")
    summary = chat("local/summarize", text) | {"webhook": {"url": scenery.receiver.url(_OWN)}}
    answer = api.post_lines("/v1/jobs/bulk", [summary, chat("local/keypoints", text)])
    group = accepted(answer)
    show.say(f"street-trees.md, {len(text) / 1000:.0f} kB, for a summary and for key points: two jobs, one group")
    show.good(f"POST /v1/jobs/bulk: 202 after {answer.ms:.1f} ms, the very first ones: {answer.headers['location']}")
    jobs = {job["model"]: job for job in api.pages(f"/v1/jobs?group_id={group['id']}")}
    ensure(len(jobs) == 2, f"the group should list two jobs, it lists {len(jobs)}")
    for model, job in jobs.items():
        show.say(f"{model:<16} {job['status_url']}")
    _poll(scenery, jobs["local/summarize"])
    _wait(scenery, jobs["local/keypoints"])
    _again(scenery)


def _poll(scenery: Scenery, job: Json) -> None:
    seen: list[str] = []
    deadline = time.monotonic() + _PATIENCE_S
    while not seen or seen[-1] not in ENDED:
        ensure(time.monotonic() < deadline, f"{job['id']} is still {job['status']} after {_PATIENCE_S:.0f} s")
        if seen:
            time.sleep(POLL_S)
        job = scenery.api.get(job["status_url"]).body
        seen.append(job["status"])
    order = list(dict.fromkeys(seen))
    scenery.show.good(f"polled {len(seen)} times: {' → '.join(order)}; the summary:")
    scenery.show.quote(text_of(job), lines=3)


def _wait(scenery: Scenery, job: Json) -> None:
    answer = scenery.api.get(f"{job['status_url']}?wait=30")
    points = text_of(answer.body)
    scenery.show.good(f"long-poll (?wait=30) answered after {answer.ms:.1f} ms; the key points:")
    scenery.show.quote(points, lines=3)


def _again(scenery: Scenery) -> None:
    """How long a ticket takes once the first requests have warmed everything up."""
    times = sorted(accepted_ms(scenery.api.post("/v1/jobs", chat("sim/fast", "Hello"))) for _ in range(_AGAIN))
    scenery.show.good(
        f"{_AGAIN} small jobs one after the other: each 202 after {statistics.median(times):.1f} ms (median), "
        f"{times[0]:.1f} to {times[-1]:.1f} ms"
    )


def stream(scenery: Scenery) -> None:
    """A job that streams, followed by its events."""
    show = scenery.show
    show.scene("Another one is followed live")
    answer = scenery.api.post("/v1/jobs", chat("local/summarize", scenery.text("heat-pumps.md"), stream=True))
    job = accepted(answer)
    show.say('heat-pumps.md, with "stream": true')
    show.good(f"POST /v1/jobs: 202 after {answer.ms:.1f} ms, status_url {job['status_url']}")
    types, text = _follow(scenery, job)
    told = [kind for kind in types if kind != "job.delta"]
    show.good(f"{types.count('job.delta')} deltas between {', '.join(told[:-1])} and {told[-1]}")
    ensure(types[-1] == "job.succeeded", f"the stream ended with {types[-1]}")
    ensure(types.count("job.delta") > 1, "the stream brought no deltas")
    result = text_of(scenery.api.get(job["status_url"]).body)
    ensure(text == result, "the deltas put together are not the stored result")
    show.good("the deltas put together are the stored result")


def _follow(scenery: Scenery, job: Json) -> tuple[list[str], str]:
    show, text = scenery.show, ""
    types: list[str] = []
    with ApiClient(ApiTarget(scenery.stage.api_url, scenery.stage.api_key)) as client:
        for event in client.events(job["id"]):
            types.append(event.type)
            if event.type == "job.delta":
                text += event.data["delta"]
                show.piece(event.data["delta"])
    show.end_pieces()
    return types, text


def webhooks(scenery: Scenery, endpoint_secret: str) -> None:
    """Both webhooks of the document arrived, signed with the right secrets."""
    show = scenery.show
    show.scene("Webhooks come by themselves, signed")
    for path, secret, kind in (
        (_OWN, scenery.stage.webhook_secret, "job.succeeded"),
        (_REGISTERED, endpoint_secret, "group.completed"),
    ):
        delivery = scenery.receiver.wait_for(path, _WEBHOOK_S)
        if delivery is None:
            raise DemoFailed(f"no webhook {kind} within {_WEBHOOK_S:.0f} s")
        event = _verified(delivery, secret)
        ensure(event["type"] == kind, f"expected {kind}, got {event['type']}")
        show.good(f"{kind} for {event['data']['id']}: signature verified by the standardwebhooks library")
        ensure(not _passes(delivery, secret), "a webhook with one byte changed passed the verification")
    show.good("with one byte changed, neither is believed")


def _verified(delivery: Delivery, secret: str) -> Json:
    try:
        event: Json = Webhook(secret).verify(delivery.body, delivery.headers)
    except WebhookVerificationError as error:
        raise DemoFailed(f"the signature of a webhook is wrong: {error}") from None
    return event


def _passes(delivery: Delivery, secret: str) -> bool:
    forged = delivery.body.replace(b'"object":"event"', b'"object":"Event"', 1)
    try:
        Webhook(secret).verify(forged, delivery.headers)
    except WebhookVerificationError:
        return False
    return True
