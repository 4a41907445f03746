"""A deployment whose address is edited in the catalog: another server under the same name."""

from core.settings import Settings
from tests.integration.engine.conftest import StartEngine
from tests.support.simulator import RunningSimulator
from tests.support.waiting import eventually

CATALOG = """
[[deployments]]
name = "a"
model = "m"
provider = "openai"
base_url = "{url}/v1"
upstream_model = "sim/fast"
"""


async def test_a_deployment_that_moved_is_warmed_at_its_new_address_before_its_first_job(
    start_engine: StartEngine, engine_settings: Settings, simulator: RunningSimulator
) -> None:
    engine_settings.catalog.write_text(CATALOG.format(url="http://127.0.0.1:9"))
    engine = await start_engine()
    before = engine._on_loop.router.states["a"]
    # By another name than its other deployments have, or their connections would do.
    engine_settings.catalog.write_text(CATALOG.format(url=simulator.url.replace("127.0.0.1", "localhost")))

    async def warmed() -> bool:
        state = engine._on_loop.router.states["a"]
        return state is not before and state.record.shown()["cold_start_ms"] is not None

    await eventually(warmed)
