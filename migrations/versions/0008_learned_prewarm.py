"""What a learned run chose; jobs by schedule."""

from migrations.sql_files import run

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run(__file__, "tables.sql")


def downgrade() -> None:
    run(__file__, "downgrade.sql")
