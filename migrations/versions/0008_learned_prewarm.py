"""What a learned run chose; jobs by schedule."""

from pathlib import Path

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_SQL = Path(__file__).with_suffix("")


def _run(name: str) -> None:
    # The driver prepares what it executes, and a prepared statement is a single one: files part them by a line of dashes.
    for statement in (_SQL / name).read_text(encoding="utf-8").split("\n-----\n"):
        op.get_bind().exec_driver_sql(statement)


def upgrade() -> None:
    _run("tables.sql")


def downgrade() -> None:
    _run("downgrade.sql")
