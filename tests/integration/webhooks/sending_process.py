"""A sender as a process of its own, to be killed: claims what is due once and waits for answers for ever."""

import asyncio
import sys
from uuid import uuid4

from core.database import connect
from core.secrets import SecretBox
from core.settings import Settings, WebhookSettings
from core.store.deliveries import DeliveryQueue
from policies.addresses import Openings
from workers.webhooks.lane import WebhookLane
from workers.webhooks.sender import Sender


async def main() -> None:
    settings, webhooks = Settings(), WebhookSettings()
    engine = connect(settings, "coatcheck_worker", pool_size=3, name="test-sender")
    assert settings.secret_key is not None
    box = SecretBox.from_setting(settings.secret_key.get_secret_value())
    queue = DeliveryQueue(engine, uuid4(), lease_s=webhooks.lease_s, per_target=32)
    sender = Sender(Openings.parse(webhooks.allow_ranges), timeout_s=60)
    lane = WebhookLane(queue, sender, box, per_target=32, schedule_s=webhooks.schedule_s)
    claimed = await lane.claim_and_send(100)
    sys.stdout.write(f"{claimed}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
