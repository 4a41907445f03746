"""Running a revision's SQL, which lies in files beside it, in a folder of its name."""

from pathlib import Path

from alembic import op


def run(revision: str, *names: str) -> None:
    """Run files of a revision's folder, in this order.

    Args:
        revision: the ``__file__`` of the revision.
        names: such as ``tables.sql``. The driver prepares what it executes, and a prepared statement is a single one: statements
            of a file are parted by a line of dashes.
    """
    for name in names:
        for statement in (Path(revision).with_suffix("") / name).read_text(encoding="utf-8").split("\n-----\n"):
            op.get_bind().exec_driver_sql(statement)
