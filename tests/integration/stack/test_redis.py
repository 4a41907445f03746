import stat
from pathlib import Path

import psutil
import pytest
import redis

from cli.stack.redis import EmbeddedRedis, bundled_redis, version_of
from cli.stack.server import ServerFailed


def test_it_answers_on_its_socket_and_never_evicts(folder: Path) -> None:
    with EmbeddedRedis(folder) as server, redis.Redis.from_url(server.url) as client:
        assert client.ping()
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("save") == {"save": ""}


def test_it_opens_no_port_and_its_folder_is_private(folder: Path) -> None:
    with EmbeddedRedis(folder) as server:
        assert server.pid is not None
        assert psutil.Process(server.pid).net_connections("inet") == []
        assert stat.S_IMODE(server.socket.parent.stat().st_mode) == 0o700


def test_broker_and_cache_live_in_databases_of_their_own(folder: Path) -> None:
    with EmbeddedRedis(folder) as server:
        with redis.Redis.from_url(server.url_for(1)) as broker, redis.Redis.from_url(server.url) as cache:
            broker.set("only", "here")
            assert cache.dbsize() == 0
        assert server.broker_url == f"redis+socket://{server.socket}?virtual_host=1"


def test_it_comes_back_empty_after_a_crash(folder: Path) -> None:
    server = EmbeddedRedis(folder)
    server.start()
    with redis.Redis.from_url(server.url) as client:
        client.set("some", "thing")
    server.kill()
    assert server.pid is None
    server.start()
    with redis.Redis.from_url(server.url) as client:
        assert client.dbsize() == 0
    server.stop()
    assert not server.socket.exists()


def test_a_second_server_on_the_same_folder_is_refused(folder: Path) -> None:
    with EmbeddedRedis(folder) as server, pytest.raises(ServerFailed, match=f"process {server.pid}"):
        EmbeddedRedis(folder).start()


def test_the_bundled_program_is_found_without_importing_its_package() -> None:
    program = bundled_redis()
    assert program is not None
    assert version_of(program).split(".")[0].isdigit()
