"""Schedules and their runs."""

from migrations.sql_files import run

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run(__file__, "tables.sql")


def downgrade() -> None:
    run(__file__, "downgrade.sql")
