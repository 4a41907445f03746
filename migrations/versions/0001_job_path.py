"""The job path: tenants, jobs, the queue's narrow tables, attempts, events, groups, webhooks, roles and row security."""

from migrations.sql_files import run

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    run(__file__, "tables.sql", "functions.sql", "security.sql")


def downgrade() -> None:
    run(__file__, "downgrade.sql")
