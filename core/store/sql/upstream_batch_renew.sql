-- Goes on holding a batch.
--   id, fence, lease_s
-- Returns nothing when another worker has it by now.
UPDATE upstream_batches SET lease_until = now() + make_interval(secs => CAST(:lease_s AS double precision))
WHERE id = :id AND fence = :fence AND state <> 'settled'
RETURNING id
