"""The model plane: routed models, concurrency keys, limits and budgets of keys and tenants, usage by day."""

from migrations.sql_files import run

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run(__file__, "tables.sql", "functions.sql", "security.sql")


def downgrade() -> None:
    run(__file__, "downgrade.sql")
