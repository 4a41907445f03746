"""Real servers for tests: one Postgres and one Redis for the whole run, and a fresh database for whoever asks.

The Postgres of a run lives in memory where the machine has some to spare and forgets what a crash takes: copying a migrated
template then costs 10 ms. Tests whose subject is durability start servers of their own (``crashable_postgres``).
"""

import asyncio
import itertools
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

from cli.stack.leftovers import end_leftovers
from cli.stack.postgres import EmbeddedPostgres
from cli.stack.redis import EmbeddedRedis
from core.database import connect
from core.settings import Settings
from tests.support.proxy import Proxy

REPOSITORY = Path(__file__).resolve().parents[2]
TEMPLATE = "coatcheck_template"
_MEMORY = Path("/dev/shm")
_ROOM = 2 * 2**30
_HASTY = ("fsync = off", "synchronous_commit = off", "full_page_writes = off", "autovacuum_naptime = '1 h'")


@contextmanager
def server_folder(*, memory: bool) -> Iterator[Path]:
    """A folder with a short path, in memory if there is plenty of it; whatever still runs in it at the end is ended."""
    roomy = memory and _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _ROOM
    made = Path(tempfile.mkdtemp(prefix="cc-", dir=_MEMORY if roomy else None)).resolve()
    try:
        yield made
    finally:
        end_leftovers(made)
        shutil.rmtree(made, ignore_errors=True)


def migrate(connection: Connection, revision: str = "head", *, down: bool = False) -> None:
    """Bring the database behind ``connection`` to a revision, with the migrations of the repository."""
    config = Config(REPOSITORY / "alembic.ini")
    config.attributes["connection"] = connection
    (command.downgrade if down else command.upgrade)(config, revision)


class Databases:
    """Makes databases on a running server, each a copy of one that was migrated once."""

    def __init__(self, server: EmbeddedPostgres, *, hasty: bool) -> None:
        self.server = server
        self._numbers = itertools.count(1)
        # Fixtures are called with and without an event loop around them; this thread never has one.
        self._thread = ThreadPoolExecutor(1, "databases")
        if hasty:
            for setting in _HASTY:
                self.sql(f"ALTER SYSTEM SET {setting}")
            self.sql("SELECT pg_reload_conf()")
        self.sql(f"CREATE DATABASE {TEMPLATE} OWNER coatcheck")
        self._call(self._migrate_template)

    def create(self) -> str:
        """A fresh, migrated database; returns its URL (the role that owns the schema)."""
        name = f"test_{next(self._numbers)}"
        self.sql(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} OWNER coatcheck STRATEGY file_copy")
        return self.server.url_for(name)

    def create_empty(self) -> str:
        """A fresh database without any table."""
        name = f"test_{next(self._numbers)}"
        self.sql(f"CREATE DATABASE {name} OWNER coatcheck")
        return self.server.url_for(name)

    def drop(self, url: str) -> None:
        """Drop a database, whoever is connected to it."""
        name = url.split("?", maxsplit=1)[0].rsplit("/", 1)[1]
        self.sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def sql(self, statement: str) -> str:
        """Run a statement as superuser."""

        async def work() -> str:
            admin = await asyncpg.connect(host=str(self.server.sockets), user="postgres", database="postgres")
            try:
                status: str = await admin.execute(statement)
                return status
            finally:
                await admin.close()

        return str(self._call(work))

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()

    def _call(self, work: Callable[[], Awaitable[Any]]) -> Any:
        async def run() -> Any:
            return await work()

        return self._thread.submit(lambda: asyncio.run(run())).result()

    async def _migrate_template(self) -> None:
        settings = Settings(database_url=self.server.url_for(TEMPLATE))
        engine = connect(settings, None, pool_size=0, name="test-migrate")
        async with engine.begin() as connection:
            await connection.run_sync(migrate)
        await engine.dispose()


@contextmanager
def running_postgres() -> Iterator[Databases]:
    """A Postgres for tests that don't crash it: in memory, and it forgets what a crash takes."""
    with server_folder(memory=True) as folder, EmbeddedPostgres(folder) as server:
        databases = Databases(server, hasty=True)
        yield databases
        databases.close()


@contextmanager
def crashable_postgres() -> Iterator[Databases]:
    """A Postgres on disk with the settings of the real stack, which may be stopped, killed and started again."""
    with server_folder(memory=False) as folder, EmbeddedPostgres(folder) as server:
        databases = Databases(server, hasty=False)
        yield databases
        databases.close()


@contextmanager
def running_redis() -> Iterator[EmbeddedRedis]:
    """A Redis of one's own, which may be stopped, killed and started again."""
    with server_folder(memory=False) as folder, EmbeddedRedis(folder) as server:
        yield server


def socket_of(server: EmbeddedPostgres) -> str:
    """The path of the server's Unix socket, for a proxy in front of it."""
    return str(server.sockets / ".s.PGSQL.5432")


def through(proxy: Proxy, url: str) -> str:
    """The URL of a database by way of a proxy."""
    role, rest = url.removeprefix("postgresql+asyncpg://").split("@", 1)
    name = rest.lstrip("/").split("?")[0]
    return f"postgresql+asyncpg://{role}@127.0.0.1:{proxy.port}/{name}?ssl=disable"
