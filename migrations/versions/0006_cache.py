"""What caches did, by hour."""

from migrations.sql_files import run

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run(__file__, "tables.sql")


def downgrade() -> None:
    run(__file__, "downgrade.sql")
