-- Lets go of a batch until it is to be looked at again.
--   id, fence, pause_s
--   counts: the try that is over counts; looking whether the upstream is done does not
UPDATE upstream_batches SET lease_until = NULL, next_look_at = now() + make_interval(secs => CAST(:pause_s AS double precision)),
  tries = tries - (NOT CAST(:counts AS boolean))::integer
WHERE id = :id AND fence = :fence AND state <> 'settled'
