"""`python -m bench.baseline.empty_queue`: forget what waits in the broker."""

from bench.baseline.tasks import app

if __name__ == "__main__":
    app.control.purge()
