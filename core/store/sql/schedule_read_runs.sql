-- Runs by id, newest first; what the jobs of those that go on did is counted now.
--   id[]
SELECT r.id, r.schedule_id, r.tenant_id, r.kind, r.slot, r.trigger, r.status, r.reason, r.missed, r.planned, r.skipped_fresh, r.submitted,
  r.over_budget, r.choices::text AS choices, r.created_at, r.finished_at,
  coalesce(u.succeeded, r.succeeded) AS succeeded, coalesce(u.failed, r.failed) AS failed,
  coalesce(u.cancelled, r.cancelled) AS cancelled, coalesce(u.tokens, r.tokens) AS tokens, coalesce(u.cost_usd, r.cost_usd) AS cost_usd
FROM schedule_runs r LEFT JOIN LATERAL (
  SELECT count(*) FILTER (WHERE j.status = 'succeeded') AS succeeded,
    count(*) FILTER (WHERE j.status IN ('failed', 'expired')) AS failed, count(*) FILTER (WHERE j.status = 'cancelled') AS cancelled,
    sum((j.usage ->> 'total_tokens')::bigint) AS tokens, sum(j.cost_usd) AS cost_usd
  FROM jobs j WHERE j.group_id = r.id) u ON r.status = 'running' AND r.planned > 0
WHERE r.id = ANY (CAST(:id AS uuid[])) ORDER BY r.id DESC
