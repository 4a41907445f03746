-- Switches endpoints off whose receiver answered 410, and cancels what still waits for them.
--   endpoint_id[]
WITH gone AS (
  UPDATE webhook_endpoints w SET enabled = false, disabled_reason = 'gone'
  WHERE w.id = ANY(CAST(:endpoint_id AS uuid[])) AND w.enabled
)
UPDATE webhook_deliveries d
SET status = 'cancelled', next_try_at = NULL, last_error = 'endpoint_disabled'
WHERE d.endpoint_id = ANY(CAST(:endpoint_id AS uuid[])) AND d.status = 'pending' AND NOT d.test
