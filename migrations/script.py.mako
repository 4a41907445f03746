"""${message}"""

from migrations.sql_files import run

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    run(__file__, "tables.sql")


def downgrade() -> None:
    run(__file__, "downgrade.sql")
