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
from tests.support.servers import REPOSITORY, Databases, migrate
from tests.support.store import Store, new_job

pytestmark = [
    pytest.mark.migrations,
    # Alembic can't change a generated column, and says so whenever it sees one spelled as Postgres spells it.
    pytest.mark.filterwarnings("ignore:Computed default on:UserWarning"),
    # SQLAlchemy trips over a check that is NOT VALID, which it has read itself.
    pytest.mark.filterwarnings("ignore:Can't validate argument 'dialect_options'"),
]

REVISIONS = [file.name[:4] for file in sorted((REPOSITORY / "migrations" / "versions").glob("0*.py"))]


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


def shape(connection: Connection) -> dict[str, Any]:
    """Tables with their columns and indexes, and functions with their bodies."""
    catalog = {
        "columns": "SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns "
        "WHERE table_schema = 'public'",
        "indexes": "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'",
        "checks": "SELECT conrelid::regclass::text, pg_get_constraintdef(oid) FROM pg_constraint "
        "WHERE contype = 'c' AND connamespace = 'public'::regnamespace",
        "policies": "SELECT tablename, policyname, roles::text, qual FROM pg_policies WHERE schemaname = 'public'",
        "grants": "SELECT grantee, table_name, privilege_type FROM information_schema.role_table_grants "
        "WHERE table_schema = 'public'",
        "functions": "SELECT proname, prosrc, pg_get_function_result(oid), proacl::text FROM pg_proc "
        "WHERE pronamespace = 'public'::regnamespace AND probin IS NULL",
    }
    found = {name: {tuple(row) for row in connection.exec_driver_sql(query)} for name, query in catalog.items()}
    return {name: {row for row in rows if "alembic_version" not in str(row)} for name, rows in found.items()}


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


async def test_each_step_back_leaves_what_was_there_before_it_and_forward_works_again(empty: AsyncEngine) -> None:
    steps = []
    for revision in REVISIONS:
        steps.append(await ask(empty, shape))
        await run(empty, revision)
    there = await ask(empty, shape)
    for before in reversed(steps):
        await run(empty, "-1", down=True)
        assert await ask(empty, shape) == before
    await run(empty, "head")
    assert await ask(empty, shape) == there
    assert await ask(empty, differences) == []


async def test_the_step_back_from_the_model_plane_keeps_every_job(store: Store) -> None:
    tenant = await store.tenant()
    keyed = [new_job(tenant, concurrency_key="k", concurrency_limit=1, priority=n) for n in range(3)]
    routed = new_job(tenant, model="auto", route_model="sim/large")
    await store.accept(*keyed, routed, new_job(tenant))
    await run(store.owner, "0001", down=True)
    rows = await store.rows("SELECT j.id, j.model, r.model AS queue FROM jobs j JOIN ready r ON r.job_id = j.id")
    assert len(rows) == 5
    assert all(row.model == row.queue for row in rows)
    assert {row.id for row in rows if row.model == "sim/large"} == {routed.id}
    await run(store.owner, "head")
    worker = await store.process()
    assert len(await worker.claim()) == 5


async def test_running_the_migrations_twice_changes_nothing(empty: AsyncEngine) -> None:
    await run(empty, "head")
    before = await ask(empty, tables)
    await run(empty, "head")
    assert await ask(empty, tables) == before


async def test_a_step_back_in_one_database_leaves_the_others_working(empty: AsyncEngine, store: Store) -> None:
    """Roles belong to the server, and the databases of a server share them."""
    await run(empty, "head")
    await run(empty, "base", down=True)
    tenant = await store.tenant()
    await store.accept(new_job(tenant))
    worker = await store.process()
    assert len(await worker.claim()) == 1
