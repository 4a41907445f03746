"""``python -m workers``: a stock Celery worker with the flags that fit doorbells."""

import argparse
import os
import socket
import sys

from core.settings import LANES


def main() -> None:
    """Become a Celery worker for the lanes asked for."""
    parser = argparse.ArgumentParser(prog="python -m workers", description="Run a Coatcheck worker process.")
    default = os.environ.get("COATCHECK_WORKER_LANES", ",".join(LANES))
    parser.add_argument("--lanes", default=default, help=f"lanes to serve, separated by commas (default: {default})")
    parser.add_argument("--name", default=f"worker-{os.getpid()}", help="what Flower calls this process")
    options = parser.parse_args()
    lanes = [lane.strip() for lane in options.lanes.split(",") if lane.strip()]
    unknown = [lane for lane in lanes if lane not in LANES]
    if unknown or not lanes:
        parser.error(f"unknown lane {', '.join(unknown)}: choose from {', '.join(LANES)}")
    os.environ["COATCHECK_WORKER_LANES"] = ",".join(lanes)
    os.execv(
        sys.executable,
        [
            sys.executable, "-m", "celery", "--app", "workers.app", "worker",
            "--queues", ",".join(lanes), "--hostname", f"{options.name}@{socket.gethostname()}",
            "--loglevel", os.environ.get("COATCHECK_LOG_LEVEL", "INFO"),
            # Gossip and mingle are chatter between workers that can wedge a restart, and doorbells need neither.
            "--without-gossip", "--without-mingle",
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
