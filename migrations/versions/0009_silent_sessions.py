"""Sessions whose client fell silent in the middle of something."""

from migrations.sql_files import run

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run(__file__, "functions.sql")


def downgrade() -> None:
    run(__file__, "downgrade.sql")
