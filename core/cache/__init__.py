"""Kept answers: what an entry is, where it lies, and what a job needs of it.

Entries live in Redis, apart by tenant. A Redis that is away, slow or empty means misses and nothing worse.
"""

from core.cache.answers import finish_of, hit_of
from core.cache.embedders import Embedder, InProcessEmbedder
from core.cache.entries import About, Entry
from core.cache.planning import Planned, plan_beside, plan_job, planned
from core.cache.semantic import NearHit, Semantic
from core.cache.shadow import Answered, Shadow
from core.cache.storage import Cache

__all__ = [
    "About",
    "Answered",
    "Cache",
    "Embedder",
    "Entry",
    "InProcessEmbedder",
    "NearHit",
    "Planned",
    "Semantic",
    "Shadow",
    "finish_of",
    "hit_of",
    "plan_beside",
    "plan_job",
    "planned",
]
