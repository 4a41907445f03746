"""The workers: a Celery app whose one task says "this lane has work", and an engine that claims, runs and finishes jobs."""
