"""Jobs that can share an upstream call do. `Merger` is a provider wrapped around another one."""

from workers.batching.merger import Merger

__all__ = ["Merger"]
