"""Kept answers: what an entry is, where it lies, and what a job needs of it.

Entries live in Redis, apart by tenant. A Redis that is away, slow or empty means misses and nothing worse.
"""

from core.cache.answers import finish_of, hit_of
from core.cache.entries import About, Entry
from core.cache.planning import Planned, plan_job, planned
from core.cache.storage import Cache

__all__ = ["About", "Cache", "Entry", "Planned", "finish_of", "hit_of", "plan_job", "planned"]
