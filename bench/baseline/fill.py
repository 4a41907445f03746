"""`python -m bench.baseline.fill`: jobs for the bodies (a JSON list) on standard input."""

import json
import sys
from uuid import uuid4

from sqlalchemy import insert
from sqlalchemy.orm import Session

from bench.baseline.tables import Job
from bench.baseline.tasks import engine, run_job


def main() -> None:
    """Entry point."""
    rows = [{"id": uuid4(), "model": body["model"], "body": body} for body in json.loads(sys.stdin.read())]
    with Session(engine) as session:
        session.execute(insert(Job), rows)
        session.commit()
    for row in rows:
        run_job.delay(str(row["id"]), row["body"])


if __name__ == "__main__":
    main()
