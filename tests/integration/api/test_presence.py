"""An API process among the others."""

from pathlib import Path

import pytest

from api import services as api_services
from core import ids
from core.settings import ApiSettings, Settings, WebhookSettings
from tests.support.store import Store
from tests.support.waiting import eventually

_AUTO = "[auto]\n" + "".join(f'{tier} = ["sim/fast"]\n' for tier in ("simple", "medium", "complex", "reasoning"))


async def test_a_process_that_tells_of_itself_in_another_way_ends_nobodys_presence(
    store: Store, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_services, "_RENEW_S", 0.05)
    (tmp_path / "catalog.toml").write_text(_AUTO)
    own = settings.model_copy(update={"catalog": tmp_path / "catalog.toml", "simulator_url": "http://simulator.test"})
    await store.sql(
        "INSERT INTO processes (id, kind, host, pid, lanes, lease_until, health) "
        "VALUES (:id, 'worker', 'elsewhere', 1, '{}', now() + interval '1 hour', '[]')",
        id=ids.new_id(),
    )
    async with api_services.running(own, ApiSettings(), WebhookSettings()) as services:
        seen: set[object] = set()

        async def renewed_again_and_again() -> bool:
            rows = await store.rows("SELECT lease_until FROM processes WHERE id = :id", id=services.presence.id)
            seen.update(row[0] for row in rows)
            return len(seen) > 2

        await eventually(renewed_again_and_again)
