"""Migrations: forward, one step back, and the same tables as the models say."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import CheckConstraint, Connection, inspect
from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import connect
from core.settings import Settings
from core.tables import metadata
from tests.support.servers import Databases, migrate
from tests.support.store import Store, new_job

# Alembic can't change a generated column, and says so whenever it sees one spelled as Postgres spells it.
pytestmark = [pytest.mark.migrations, pytest.mark.filterwarnings("ignore:Computed default on:UserWarning")]


@pytest.fixture
async def empty(databases: Databases) -> AsyncIterator[AsyncEngine]:
    """The schema's owner in a database without any table."""
    url = databases.create_empty()
    engine = connect(Settings(database_url=url), None, pool_size=1, name="test-migrations")
    yield engine
    await engine.dispose()
    databases.drop(url)


async def run(engine: AsyncEngine, revision: str, *, down: bool = False) -> None:
    async with engine.begin() as connection:
        await connection.run_sync(lambda sync: migrate(sync, revision, down=down))


async def ask(engine: AsyncEngine, question: Any) -> Any:
    async with engine.connect() as connection:
        return await connection.run_sync(question)


def tables(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names())


def functions(connection: Connection) -> set[str]:
    query = "SELECT proname FROM pg_proc JOIN pg_namespace n ON n.oid = pronamespace WHERE nspname = 'public' AND probin IS NULL"
    return {row[0] for row in connection.exec_driver_sql(query)}


def differences(connection: Connection) -> list[Any]:
    def ours(name: str | None, kind: str, _parents: object) -> bool:
        return kind != "table" or name is None or name in metadata.tables

    context = MigrationContext.configure(
        connection, opts={"compare_type": True, "compare_server_default": True, "include_name": ours}
    )
    return list(compare_metadata(context, metadata))


async def test_models_and_migrations_agree(store: Store) -> None:
    assert await ask(store.owner, differences) == []
    assert set(metadata.tables) <= await ask(store.owner, tables)


async def test_check_constraints_of_models_and_migrations_agree(store: Store) -> None:
    """Alembic does not compare these."""
    rows = await store.rows(
        "SELECT c.conrelid::regclass::text AS name, c.conname FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid "
        "WHERE c.contype = 'c' AND NOT t.relispartition AND c.connamespace = 'public'::regnamespace"
    )
    built = {(row.name, row.conname) for row in rows}
    declared = {
        (table.name, str(constraint.name))
        for table in metadata.tables.values()
        for constraint in table.constraints
        if isinstance(constraint, CheckConstraint)
    }
    assert built == declared


async def test_one_step_back_leaves_nothing_and_forward_works_again(empty: AsyncEngine) -> None:
    before = await ask(empty, functions)
    await run(empty, "head")
    there = await ask(empty, tables), await ask(empty, functions)
    await run(empty, "-1", down=True)
    assert await ask(empty, tables) <= {"alembic_version"}
    assert await ask(empty, functions) == before
    await run(empty, "head")
    assert (await ask(empty, tables), await ask(empty, functions)) == there
    assert await ask(empty, differences) == []


async def test_running_the_migrations_twice_changes_nothing(empty: AsyncEngine) -> None:
    await run(empty, "head")
    before = await ask(empty, tables)
    await run(empty, "head")
    assert await ask(empty, tables) == before


async def test_a_step_back_in_one_database_leaves_the_others_working(empty: AsyncEngine, store: Store) -> None:
    """Roles belong to the server, and the databases of a server share them."""
    await run(empty, "head")
    await run(empty, "-1", down=True)
    tenant = await store.tenant()
    await store.accept(new_job(tenant))
    worker = await store.process()
    assert len(await worker.claim()) == 1
