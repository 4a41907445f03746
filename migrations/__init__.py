"""Alembic migrations: forward, and one step back."""
