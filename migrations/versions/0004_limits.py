"""What a tenant and its keys have queued and running: what their limits start from."""

from migrations.sql_files import run

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run(__file__, "functions.sql")


def downgrade() -> None:
    run(__file__, "downgrade.sql")
