"""Jobs of the lane `bulk` through the Batch APIs of upstreams, at the batch price.

`runner` is the engine's part; `steps` moves one batch on and `settlement` settles it; `api` speaks to the upstream, `lines` reads
and writes its files, and `outcomes` turns answers into moves of jobs. `core.store.upstream_batches` has the states, the leases,
and what happens when a worker dies.

A job in a batch has the time that the Batch API takes, a day at most; its `timeout_s` is for calls. Streams, and endpoints that a
Batch API does not take, run as calls, and so does everything for ten minutes after an upstream took no batch at all.
"""

from workers.upstream_batches.runner import UpstreamBatches

__all__ = ["UpstreamBatches"]
