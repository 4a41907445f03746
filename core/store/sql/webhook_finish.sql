-- Records how tries ended, where the lease is still the same; whoever lost it changes nothing.
--   one array per column, all of one length
--   status      delivered, pending (to be tried again in delay_s), exhausted or cancelled
--   counted     whether it was a try at all (a hand-back is not)
-- Returns the ids that were recorded.
WITH input AS (
  SELECT * FROM unnest(
    CAST(:id AS uuid[]), CAST(:lease_no AS integer[]), CAST(:status AS text[]), CAST(:counted AS boolean[]),
    CAST(:delay_s AS double precision[]), CAST(:last_status AS integer[]), CAST(:last_error AS text[]),
    CAST(:last_duration_ms AS double precision[]))
  AS t (id, lease_no, status, counted, delay_s, last_status, last_error, last_duration_ms)
),
mine AS MATERIALIZED (
  SELECT d.id FROM input i JOIN webhook_deliveries d ON d.id = i.id
  WHERE d.status = 'sending' AND d.lease_no = i.lease_no
  ORDER BY d.id FOR UPDATE OF d
)
UPDATE webhook_deliveries d
SET status = i.status, lease_until = NULL, leased_by = NULL,
    tries = d.tries + i.counted::integer,
    next_try_at = CASE WHEN i.status = 'pending' THEN now() + make_interval(secs => i.delay_s) END,
    delivered_at = CASE WHEN i.status = 'delivered' THEN now() END,
    last_status = CASE WHEN i.counted THEN i.last_status ELSE d.last_status END,
    last_error = CASE WHEN i.counted OR i.last_error IS NOT NULL THEN i.last_error ELSE d.last_error END,
    last_duration_ms = CASE WHEN i.counted THEN i.last_duration_ms ELSE d.last_duration_ms END
FROM input i JOIN mine m ON m.id = i.id
WHERE d.id = i.id
RETURNING d.id
