import asyncio
import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from core.catalog import CatalogError, LiveCatalog
from tests.support.waiting import eventually

LOCAL = '[[deployments]]\nmodel = "{}"\nprovider = "local"\n'


def settle(file: Path, at: float = 1_000_000_000) -> None:
    """As if the file had been written long ago, so that only its content and its age can tell that it changed."""
    os.utime(file, (at, at))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "catalog.toml"
    file.write_text(LOCAL.format("a"))
    settle(file)
    return file


def test_a_broken_catalog_stops_the_start(file: Path) -> None:
    file.write_text("deployments = 1")
    with pytest.raises(CatalogError):
        LiveCatalog(file)


def test_an_edit_takes_effect_without_a_restart(file: Path) -> None:
    live = LiveCatalog(file)
    before = live.current
    assert not live.reload_if_changed()
    file.write_text(LOCAL.format("a") + LOCAL.format("b"))
    assert live.reload_if_changed()
    assert live.current.models == ("a", "b")
    assert before.models == ("a",)
    assert live.current.version != before.version


def test_an_edit_of_equal_length_right_after_another_is_seen(file: Path) -> None:
    live = LiveCatalog(file)
    for model in "bcd":
        file.write_text(LOCAL.format(model))
        assert live.reload_if_changed()
        assert live.current.models == (model,)


def test_a_file_put_in_place_of_another_is_seen(file: Path) -> None:
    live = LiveCatalog(file)
    fresh = file.with_suffix(".new")
    fresh.write_text(LOCAL.format("b"))
    settle(fresh)
    fresh.replace(file)
    assert live.reload_if_changed()
    assert live.current.models == ("b",)


def test_a_broken_edit_leaves_the_old_catalog_in_force_and_says_so_once(file: Path) -> None:
    live = LiveCatalog(file)
    before = live.current
    file.write_text(LOCAL.format("b") + "max_concurency = 3\n")
    with capture_logs() as logs:
        assert not live.reload_if_changed()
        assert not live.reload_if_changed()
    assert live.current is before
    (refused,) = logs
    assert refused["event"] == "catalog_refused"
    assert refused["problems"] == live.problems
    (problem,) = live.problems
    assert problem.startswith(f"{file}:4: deployments[0].max_concurency: ")
    file.write_text(LOCAL.format("b"))
    assert live.reload_if_changed()
    assert live.current.models == ("b",)
    assert live.problems == ()


@pytest.mark.parametrize(
    "damage", [b"\xff\xfe", b"model = ", b"x = " + b"9" * 5000, b"x = 1e99999999999999999999", b"[" * 5000]
)
def test_whatever_is_in_the_file_the_old_catalog_stays(file: Path, damage: bytes) -> None:
    live = LiveCatalog(file)
    file.write_bytes(damage)
    assert not live.reload_if_changed()
    assert live.current.models == ("a",)
    assert len(live.problems) == 1


def test_a_file_that_is_gone_leaves_the_old_catalog_in_force_until_it_is_back(file: Path) -> None:
    live = LiveCatalog(file)
    text = file.read_text()
    file.unlink()
    assert not live.reload_if_changed()
    assert live.current.models == ("a",)
    assert "No such file" in live.problems[0]
    file.write_text(text)
    # The same content again is no news, but the complaint is over.
    assert not live.reload_if_changed()
    assert live.problems == ()


def test_a_comment_is_no_new_catalog(file: Path) -> None:
    live = LiveCatalog(file)
    before = live.current
    file.write_text("# a comment\n" + file.read_text())
    assert not live.reload_if_changed()
    assert live.current is before


async def test_a_follower_hears_of_every_new_catalog_and_of_no_broken_one(file: Path) -> None:
    live = LiveCatalog(file)
    heard: asyncio.Queue[tuple[str, ...]] = asyncio.Queue()
    follower = asyncio.create_task(live.follow(lambda catalog: heard.put_nowait(catalog.models), every_s=0.001))
    file.write_text("broken")

    async def refused() -> bool:
        return bool(live.problems)

    await eventually(refused)
    file.write_text(LOCAL.format("b"))
    assert await asyncio.wait_for(heard.get(), 10) == ("b",)
    follower.cancel()


def test_the_simulators_models_stay_after_a_reload(file: Path) -> None:
    live = LiveCatalog(file, "http://127.0.0.1:9000")
    file.write_text(LOCAL.format("b"))
    assert live.reload_if_changed()
    assert "sim/chat" in live.current.models
    assert live.current.auto is not None
