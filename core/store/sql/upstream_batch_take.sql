-- Leases the batch that has waited longest to be looked at.
--   process_id, lease_s
-- The jobs' own leases hang on the batch, not on the worker, and are renewed with it. They last longer than the day that a Batch API
-- may take, so that no pause of all workers brings jobs to run twice that an upstream has answered meanwhile.
-- Returns it, with a new fence: whoever held it before can't move it any more.
WITH due AS (
  SELECT b.id FROM upstream_batches b
  WHERE b.state <> 'settled' AND b.next_look_at <= now() AND (b.lease_until IS NULL OR b.lease_until <= now())
  ORDER BY b.next_look_at LIMIT 1 FOR UPDATE SKIP LOCKED
),
taken AS (
  UPDATE upstream_batches b SET leased_by = :process_id, fence = b.fence + 1, tries = b.tries + 1,
    lease_until = now() + make_interval(secs => CAST(:lease_s AS double precision))
  FROM due d WHERE b.id = d.id
  RETURNING b.*
),
holder AS (
  INSERT INTO processes (id, kind, host, pid, lanes, lease_until)
  SELECT id, 'upstream_batch', deployment, 0, '{}', now() + interval '28 hours' FROM taken
  ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until
)
SELECT * FROM taken
