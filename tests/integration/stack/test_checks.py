import asyncio
import os
from pathlib import Path

import psutil
import pytest

from cli.checks import Finding, all_checks
from cli.stack.lock import StackLock
from cli.stack.postgres import EmbeddedPostgres
from tests.support.store import Store


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


@pytest.fixture(autouse=True)
def no_servers_of_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "REDIS_URL", "BROKER_URL", "CATALOG"):
        monkeypatch.delenv(f"COATCHECK_{name}", raising=False)


def test_nothing_is_missing_for_a_first_start(folder: Path) -> None:
    findings = by_name(all_checks(folder))
    assert [finding for finding in findings.values() if finding.level == "fail"] == []
    assert "18" in findings["Postgres"].found


def test_an_old_redis_is_named_and_excused_by_its_private_socket(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    finding = by_name(all_checks(folder))["Redis"]
    assert finding.level == "warn"
    assert "private Unix socket only" in finding.found and finding.advice


def test_an_unreachable_database_is_told_without_its_password(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COATCHECK_DATABASE_URL", "postgresql+asyncpg://someone:quiet-word@127.0.0.1:1/none")
    monkeypatch.setenv("COATCHECK_BROKER_URL", "amqp://someone:quiet-word@127.0.0.1:1//")
    findings = all_checks(folder)
    assert by_name(findings)["database"].level == "fail"
    assert by_name(findings)["broker"].level == "fail"
    assert "quiet-word" not in repr(findings)


def test_a_database_without_schema_is_told_with_the_command_that_helps(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EmbeddedPostgres(folder) as server:
        monkeypatch.setenv("COATCHECK_DATABASE_URL", server.url)
        finding = by_name(all_checks(folder))["database"]
    assert finding.level == "fail" and "coatcheck migrate" in finding.advice


def test_a_running_stack_is_told_with_its_process(folder: Path) -> None:
    lock = StackLock(folder).acquire()
    lock.tell("http://127.0.0.1:8000")
    (folder / "stack.json").write_text("{}")
    found = by_name(all_checks(folder))["stack"].found
    (folder / "stack.json").unlink()
    assert f"running in {folder}: process {os.getpid()} of user {psutil.Process().username()}, since " in found
    assert found.endswith("http://127.0.0.1:8000")
    assert by_name(all_checks(folder))["stack"].found.startswith("starting or stopping in ")
    lock.release()


def test_a_stack_that_does_not_run_is_told(folder: Path) -> None:
    assert by_name(all_checks(folder))["stack"].found == f"not running; data in {folder}"
    assert "none yet" in by_name(all_checks(folder / "absent"))["stack"].found


def test_every_warning_comes_with_advice(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (file := folder / "catalog.toml").touch()
    monkeypatch.setenv("COATCHECK_CATALOG", str(file))
    monkeypatch.setenv("PATH", "/nowhere")
    findings = all_checks(folder)
    assert {finding.name for finding in findings if finding.level == "warn"} >= {"Redis", "catalog"}
    assert [finding for finding in findings if finding.level != "ok" and not finding.advice] == []


def test_what_a_killed_stack_left_is_told(folder: Path) -> None:
    with EmbeddedPostgres(folder) as server:
        finding = by_name(all_checks(folder))["stack"]
        assert finding.level == "warn" and str(server.pid) in finding.found
        assert "coatcheck down" in finding.advice


def test_a_mistake_in_the_catalog_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = folder / "catalog.toml"
    file.write_text("[[deployments]]\nprovider = 'nonsense'\n")
    monkeypatch.setenv("COATCHECK_CATALOG", str(file))
    assert by_name(all_checks(folder))["catalog"].level == "fail"


async def test_a_database_that_keeps_no_vectors_is_told_with_the_reason(
    folder: Path, store: Store, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COATCHECK_DATABASE_URL", database_url)
    assert by_name(await asyncio.to_thread(all_checks, folder))["semantic cache"].level == "ok"
    await store.sql("DROP FUNCTION semantic_near")
    finding = by_name(await asyncio.to_thread(all_checks, folder))["semantic cache"]
    assert finding.level == "warn" and "coatcheck migrate" in finding.found
