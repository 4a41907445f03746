-- Gives deliveries whose lease ran out (their worker died) back to be sent again at once, with the same webhook-id.
--   most     how many at most
WITH dead AS MATERIALIZED (
  SELECT d.id FROM webhook_deliveries d
  WHERE d.status = 'sending' AND d.lease_until < now()
  ORDER BY d.lease_until LIMIT CAST(:most AS integer) FOR UPDATE SKIP LOCKED
)
UPDATE webhook_deliveries d
SET status = 'pending', next_try_at = now(), lease_until = NULL, leased_by = NULL
FROM dead WHERE d.id = dead.id
RETURNING d.id
