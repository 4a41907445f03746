"""``python -m workers.beat``: stock Celery beat. It only rings doorbells: two of it do no harm, none of it loses nothing."""

import os
import sys


def main() -> None:
    """Become Celery beat."""
    schedule = os.environ.get("COATCHECK_BEAT_SCHEDULE", "celerybeat-schedule")
    os.execv(
        sys.executable,
        [
            sys.executable, "-m", "celery", "--app", "workers.app", "beat",
            "--schedule", schedule, "--pidfile", "", "--loglevel", os.environ.get("COATCHECK_LOG_LEVEL", "INFO"),
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
