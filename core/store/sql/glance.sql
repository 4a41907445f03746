-- One look at what a sweep would find, so that an idle second costs one statement.
-- due_in_s: seconds until the next waiting job may start, negative when it may, null when none waits.
-- workers: how many worker processes live.
-- Lanes and models are found by skipping from one to the next in the index, never by reading all that waits.
WITH RECURSIVE queues AS (
  (SELECT r.lane, r.model FROM ready r ORDER BY r.lane, r.model LIMIT 1)
  UNION ALL
  SELECT n.lane, n.model FROM queues q CROSS JOIN LATERAL (
    SELECT r.lane, r.model FROM ready r WHERE (r.lane, r.model) > (q.lane, q.model) ORDER BY r.lane, r.model LIMIT 1) n
)
SELECT (SELECT extract(epoch FROM w.run_at - now())::double precision FROM waiting w ORDER BY w.run_at LIMIT 1) AS due_in_s,
  EXISTS (SELECT FROM ready WHERE expires_at <= now()) OR EXISTS (SELECT FROM held_back WHERE expires_at <= now()) AS late,
  EXISTS (SELECT FROM running r
          WHERE NOT EXISTS (SELECT FROM processes p WHERE p.id = r.process_id AND p.lease_until > now())) AS lost,
  EXISTS (SELECT FROM webhook_deliveries WHERE status = 'pending' AND next_try_at <= now()) OR
  EXISTS (SELECT FROM webhook_deliveries WHERE status = 'sending' AND lease_until <= now()) AS deliveries,
  (SELECT count(*) FROM processes WHERE kind = 'worker' AND lease_until > now()) AS workers,
  coalesce(q.lanes, '{}') AS lanes, coalesce(q.models, '{}') AS models
FROM (SELECT array_agg(lane) AS lanes, array_agg(model) AS models FROM queues) q
