-- Ends the runs whose groups are complete, or whose windows are over, with the sums of what their jobs did. A prewarm run whose
-- answers are not all in the cache says so.
--   id[]: of groups or runs; what is no run is passed over
-- Returns every run among them; ended tells which of them ended by this, each of them once.
WITH runs AS MATERIALIZED (
  SELECT r.id, r.status = 'running' AS running FROM schedule_runs r WHERE r.id = ANY (CAST(:id AS uuid[])) ORDER BY r.id FOR UPDATE
),
used AS (
  SELECT j.group_id AS id, count(*) FILTER (WHERE j.status = 'succeeded') AS succeeded,
    count(*) FILTER (WHERE j.status IN ('failed', 'expired')) AS failed, count(*) FILTER (WHERE j.status = 'cancelled') AS cancelled,
    coalesce(sum((j.usage ->> 'total_tokens')::bigint), 0) AS tokens, sum(j.cost_usd) AS cost_usd,
    bool_or(j.cache ->> 'kept' = 'false') AS unkept
  FROM jobs j WHERE j.group_id IN (SELECT id FROM runs WHERE running) GROUP BY j.group_id
),
ended AS (
  UPDATE schedule_runs r SET finished_at = now(), plan = NULL, next_look_at = NULL,
    status = CASE WHEN g.cancelled_at IS NULL THEN 'completed' ELSE 'cancelled' END,
    reason = CASE WHEN r.reason IS NULL AND r.kind = 'prewarm' AND u.unkept THEN 'not_kept' ELSE r.reason END,
    succeeded = coalesce(u.succeeded, r.succeeded), failed = coalesce(u.failed, r.failed),
    cancelled = coalesce(u.cancelled, r.cancelled), tokens = coalesce(u.tokens, r.tokens), cost_usd = coalesce(u.cost_usd, r.cost_usd)
  FROM runs LEFT JOIN used u ON u.id = runs.id LEFT JOIN groups g ON g.id = runs.id
  WHERE r.id = runs.id AND runs.running
  RETURNING r.*
)
SELECT runs.id, runs.running AS ended, e.schedule_id, e.tenant_id, e.kind, e.slot, e.trigger, e.status, e.reason, e.missed,
  e.planned, e.skipped_fresh, e.submitted, e.over_budget, e.succeeded, e.failed, e.cancelled, e.tokens, e.cost_usd, e.created_at,
  e.finished_at
FROM runs LEFT JOIN ended e ON e.id = runs.id
