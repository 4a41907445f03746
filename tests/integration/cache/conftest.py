"""Whole engines for tests of caches that go all the way."""

from tests.integration.engine.conftest import engine_settings, start_engine

__all__ = ["engine_settings", "start_engine"]
