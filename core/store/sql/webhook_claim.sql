-- Claims due webhook deliveries, fairly between targets (a registered endpoint, or the host of a job's own webhook URL).
--   process_id, lease_s        who claims, and for how many seconds
--   room                       how many deliveries at most
--   after, visits              the turn goes on behind this target, and looks at so many targets at most
--   per_target, share          most in flight to one target over all processes; most of them in this claim
--   slow_target[], slow_room[] targets that answered badly of late, and how many may be in flight to them
-- Hops from target to target by index, so a target with a million waiting deliveries costs as much as one with ten.
-- Returns rows of (last_target, visited, the claimed delivery or nulls); always at least one.
WITH RECURSIVE hops AS (
  (SELECT d.target FROM webhook_deliveries d
   WHERE d.status = 'pending' AND d.target > CAST(:after AS uuid) ORDER BY d.target LIMIT 1)
  UNION ALL
  SELECT (SELECT d.target FROM webhook_deliveries d
          WHERE d.status = 'pending' AND d.target > h.target ORDER BY d.target LIMIT 1)
  FROM hops h WHERE h.target IS NOT NULL
),
turns AS MATERIALIZED (
  SELECT h.target FROM hops h WHERE h.target IS NOT NULL LIMIT CAST(:visits AS integer)
),
slow AS MATERIALIZED (
  SELECT * FROM unnest(CAST(:slow_target AS uuid[]), CAST(:slow_room AS integer[])) AS s (target, room)
),
picked AS MATERIALIZED (
  SELECT due.id, due.target
  FROM turns t
  CROSS JOIN LATERAL (
    SELECT coalesce((SELECT s.room FROM slow s WHERE s.target = t.target), CAST(:per_target AS integer))
      - (SELECT count(*) FROM webhook_deliveries b WHERE b.status = 'sending' AND b.target = t.target) AS free) r
  CROSS JOIN LATERAL (
    SELECT d.id, d.target FROM webhook_deliveries d
    WHERE d.status = 'pending' AND d.target = t.target AND d.next_try_at <= now()
    ORDER BY d.next_try_at LIMIT greatest(0, least(r.free, CAST(:share AS integer)))
    FOR UPDATE SKIP LOCKED) due
  LIMIT CAST(:room AS integer)
),
claimed AS (
  UPDATE webhook_deliveries d
  SET status = 'sending', lease_no = d.lease_no + 1, leased_by = CAST(:process_id AS uuid),
      lease_until = now() + make_interval(secs => CAST(:lease_s AS double precision))
  FROM picked p WHERE d.id = p.id
  RETURNING d.id, d.lease_no, d.tries, d.test, d.event_id, d.tenant_id, d.endpoint_id, d.target, d.url
),
loaded AS (
  SELECT c.*, e.payload, e.traceparent,
    c.endpoint_id IS NULL OR coalesce(w.enabled OR (c.test AND w.id IS NOT NULL), false) AS wanted,
    CASE WHEN c.endpoint_id IS NULL THEN t.webhook_secret_encrypted ELSE w.secret_encrypted END AS secret,
    CASE WHEN c.endpoint_id IS NULL AND t.old_webhook_secret_until > now() THEN t.old_webhook_secret_encrypted
         WHEN c.endpoint_id IS NOT NULL AND w.old_secret_until > now() THEN w.old_secret_encrypted END AS old_secret
  FROM claimed c
  JOIN webhook_events e ON e.id = c.event_id
  JOIN tenants t ON t.id = c.tenant_id
  LEFT JOIN webhook_endpoints w ON w.id = c.endpoint_id AND w.tenant_id = c.tenant_id
)
SELECT s.last_target, s.visited, l.*
FROM (SELECT (array_agg(target ORDER BY target DESC))[1] AS last_target, count(*) AS visited FROM turns) s
LEFT JOIN loaded l ON true
