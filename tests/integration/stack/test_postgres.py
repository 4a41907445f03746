import asyncio
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from cli.stack.folders import remove_socket_folder
from cli.stack.postgres import EmbeddedPostgres
from cli.stack.server import ServerFailed, is_alive


@pytest.fixture
def strict_umask() -> Iterator[None]:
    """As `coatcheck up` sets it."""
    before = os.umask(0o077)
    yield
    os.umask(before)


def ask(server: EmbeddedPostgres, query: str, user: str = "coatcheck", database: str = "coatcheck") -> object:
    async def work() -> object:
        connection = await asyncpg.connect(user=user, database=database, host=str(server.sockets))
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    return asyncio.run(work())


def test_a_new_cluster_has_the_owner_the_database_and_pgvector(folder: Path) -> None:
    with EmbeddedPostgres(folder) as server:
        assert ask(server, "select '[1,2]'::vector <-> '[1,2]'::vector") == 0.0
        assert ask(server, "select rolsuper from pg_roles where rolname = current_user") is False
        assert ask(server, "select datdba::regrole::text from pg_database where datname = 'coatcheck'") == "coatcheck"
        assert str(ask(server, "show server_version")).startswith("18.")
        assert ask(server, "select upper('ä')") == "Ä"


def test_new_databases_have_pgvector_too(folder: Path) -> None:
    with EmbeddedPostgres(folder) as server:
        ask(server, "create database another")
        assert ask(server, "select '[1]'::vector::text", database="another") == "[1]"


def test_no_tcp_port_is_opened(folder: Path) -> None:
    with EmbeddedPostgres(folder) as server:
        assert ask(server, "show listen_addresses") == ""
        assert server.pid is not None
        assert not [found for found in psutil.Process(server.pid).net_connections("inet") if found.status == "LISTEN"]


def test_nobody_else_can_enter_the_folders(folder: Path) -> None:
    with EmbeddedPostgres(folder) as server:
        for private in (server.folder, server.cluster, server.sockets):
            assert stat.S_IMODE(private.stat().st_mode) == 0o700


def test_data_survive_a_stop_and_a_crash(folder: Path) -> None:
    server = EmbeddedPostgres(folder)
    server.start()
    ask(server, "create table kept as select 7 as number")
    server.stop()
    server.start()
    assert ask(server, "select number from kept") == 7
    server.kill()
    assert server.pid is None
    server.start()
    assert ask(server, "select number from kept") == 7
    server.stop()


def test_stop_leaves_no_process_and_no_socket(folder: Path) -> None:
    server = EmbeddedPostgres(folder)
    server.start()
    family = server.leftovers()
    server.stop()
    assert len(family) > 1 and not any(is_alive(process) for process in family)
    assert list(server.sockets.iterdir()) == []


def test_a_pid_file_that_names_a_foreign_process_does_not_prevent_the_start(folder: Path) -> None:
    server = EmbeddedPostgres(folder)
    server.start()
    server.stop()
    (server.cluster / "postmaster.pid").write_text(f"{os.getpid()}\n{server.cluster}\n0\n5432\n{server.sockets}\n\n")
    server.start()
    assert server.pid not in (None, os.getpid())
    server.stop()


def test_a_second_server_on_the_same_folder_is_refused_with_its_process_id(folder: Path) -> None:
    with EmbeddedPostgres(folder) as server:
        with pytest.raises(ServerFailed, match=f"process {server.pid}"):
            EmbeddedPostgres(folder).start()
        assert ask(server, "select 1") == 1


def test_an_unfinished_initdb_is_started_anew(folder: Path) -> None:
    server = EmbeddedPostgres(folder)
    draft = server.cluster.with_name("postgres.draft")
    draft.mkdir(mode=0o700)
    (draft / "PG_VERSION").write_text("18\n")
    with server:
        assert ask(server, "select 1") == 1
    assert not draft.exists()


def test_a_path_of_more_than_120_characters_works(long_folder: Path) -> None:
    assert len(str(long_folder)) > 120
    with EmbeddedPostgres(long_folder) as server:
        assert ask(server, "select 1") == 1
        assert EmbeddedPostgres(long_folder).url == server.url
        assert stat.S_IMODE(server.sockets.stat().st_mode) == 0o700
    remove_socket_folder(long_folder)
    assert not server.sockets.exists()


def test_odd_characters_in_the_path_do_no_harm(folder: Path) -> None:
    with EmbeddedPostgres(folder / "a b:ü%20,'c") as server:
        assert ask(server, "select 1") == 1
    shutil.rmtree(server.sockets)


def test_variables_for_other_postgres_servers_are_ignored(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGDATA", "/nowhere")
    monkeypatch.setenv("PGOPTIONS", "-c work_mem=nonsense")
    with EmbeddedPostgres(folder) as server:
        monkeypatch.delenv("PGOPTIONS")
        assert ask(server, "select 1") == 1


def test_root_without_namespaces_hands_it_to_another_user_and_keeps_its_own_folders_shut(
    folder: Path, as_root: None, strict_umask: None
) -> None:
    with EmbeddedPostgres(folder, isolation="user") as server:
        assert ask(server, "select 1") == 1
        assert server.pid is not None and psutil.Process(server.pid).username() == "nobody"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert folder not in server.cluster.parents
        place = server.cluster.parent
        assert EmbeddedPostgres(folder, isolation="user").url == server.url
    shutil.rmtree(place)


def test_the_server_ends_with_the_process_that_started_it(folder: Path) -> None:
    script = (
        "import os, pathlib, signal, sys; from cli.stack.postgres import EmbeddedPostgres\n"
        "server = EmbeddedPostgres(pathlib.Path(sys.argv[1])); server.start(); print(server.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder)], capture_output=True, text=True, check=False, cwd=Path.cwd()
    )
    pid = int(done.stdout)
    if psutil.pid_exists(pid):
        psutil.wait_procs([psutil.Process(pid)], timeout=20)
    assert EmbeddedPostgres(folder).leftovers() == []
