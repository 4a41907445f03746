"""The database's schema version, through Alembic. Heavy imports stay inside: most commands don't need them."""

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alembic.config import Config

    from core.settings import Settings


@dataclass(frozen=True, slots=True)
class SchemaState:
    """The revision the database is at (None: empty) and the newest one of this program."""

    current: str | None
    newest: str

    @property
    def is_current(self) -> bool:
        """Whether there is nothing to migrate."""
        return self.current == self.newest


def upgrade(settings: "Settings") -> None:
    """Migrate the database to the newest schema; nothing happens if it is there already."""
    from alembic import command

    # The migrations read their settings themselves, as every other process does.
    os.environ["COATCHECK_DATABASE_URL"] = settings.database_url
    command.upgrade(_config(), "head")


async def schema_state(settings: "Settings") -> SchemaState:
    """Compare the database with the program. Raises SQLAlchemy's and asyncpg's errors when it can't be reached."""
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    from core.database import connect

    newest = ScriptDirectory.from_config(_config()).get_current_head() or ""
    engine = connect(settings, None, pool_size=0, name="coatcheck-cli")
    try:
        async with engine.connect() as connection:
            current = await connection.run_sync(lambda sync: MigrationContext.configure(sync).get_current_revision())
    finally:
        await engine.dispose()
    return SchemaState(current, newest)


async def make_vectors(settings: "Settings") -> str | None:
    """Make the table of the semantic cache if it can be had now and is not there; return why it can't be had."""
    from core.database import connect
    from core.store import semantic

    engine = connect(settings, None, pool_size=0, name="coatcheck-cli")
    try:
        return await semantic.make_vectors(engine)
    finally:
        await engine.dispose()


async def why_no_vectors(settings: "Settings") -> str | None:
    """Return why the database has no semantic cache; None if it has one."""
    from core.database import connect
    from core.store import semantic

    engine = connect(settings, None, pool_size=0, name="coatcheck-cli")
    try:
        return await semantic.why_off(engine)
    finally:
        await engine.dispose()


def _config() -> "Config":
    from alembic.config import Config

    found = importlib.util.find_spec("migrations")  # by name, not by import: the command line starts it, no more
    if found is None or found.origin is None:
        raise RuntimeError("the migrations are not installed")
    config = Config()
    config.set_main_option("script_location", str(Path(found.origin).parent).replace("%", "%%"))
    return config
