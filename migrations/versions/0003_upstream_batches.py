"""Jobs that go through the Batch APIs of upstreams."""

from migrations.sql_files import run

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run(__file__, "tables.sql")


def downgrade() -> None:
    run(__file__, "downgrade.sql")
