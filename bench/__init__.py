"""Benchmarks of the whole job path, and of plain Celery beside it: `python -m bench [names…] [--quick] [--json FILE]`."""
