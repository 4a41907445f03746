"""The semantic cache: vectors where the server has pgvector, what shadow mode saw, and what keys ask of caches."""

from migrations.sql_files import run

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run(__file__, "keys.sql", "shadow.sql", "entries.sql", "hours.sql")


def downgrade() -> None:
    run(__file__, "downgrade.sql")
