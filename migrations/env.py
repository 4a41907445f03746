"""How Alembic reaches the database: the URL of ``COATCHECK_DATABASE_URL``, one migration run at a time, bounded lock waits."""

import asyncio
import re
from typing import Any

from alembic import context
from sqlalchemy import Connection, text

from core.database import connect
from core.settings import Settings
from core.tables import metadata

# A migration that waits for a lock makes everybody behind it wait too: better to give up and be run again.
_LOCK_TIMEOUT = "5s"
# Any number will do, as long as it stays the same: two deploys at once take turns.
_MIGRATION_LOCK = 4_270_197_018


# Weekly partitions come and go with the calendar; the comparison of models and database looks at their parents.
_PARTITION = re.compile(r"_(\d{4}w\d{2}|default)$")


def _is_ours(name: str | None, kind: str, _parents: Any) -> bool:
    return not (kind == "table" and name and _PARTITION.search(name))


def _migrate(connection: Connection) -> None:
    context.configure(
        connection=connection, target_metadata=metadata, transaction_per_migration=True, include_name=_is_ours
    )
    with context.begin_transaction():
        context.run_migrations()


async def _run() -> None:
    engine = connect(Settings(), None, pool_size=0, name="coatcheck-migrate")
    try:
        async with engine.connect() as connection:
            await connection.execute(text("SET statement_timeout = 0"))
            await connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": _MIGRATION_LOCK})
            await connection.execute(text(f"SET lock_timeout = '{_LOCK_TIMEOUT}'"))
            await connection.commit()
            await connection.run_sync(_migrate)
            await connection.commit()
    finally:
        await engine.dispose()


if context.config.attributes.get("connection") is not None:
    _migrate(context.config.attributes["connection"])
elif context.is_offline_mode():
    context.configure(dialect_name="postgresql", target_metadata=metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    asyncio.run(_run())
