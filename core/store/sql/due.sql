-- Takes jobs out of their pause whose time has come; enter.sql lets them in, in the same transaction.
--   most: how many at the most
-- Returns the jobs.
WITH due AS (
  SELECT w.job_id FROM waiting w WHERE w.run_at <= now() ORDER BY w.run_at LIMIT :most FOR UPDATE SKIP LOCKED
),
left_waiting AS (DELETE FROM waiting WHERE job_id = ANY (ARRAY(SELECT job_id FROM due))),
woken AS MATERIALIZED (
  SELECT j.id, j.tenant_id, j.key_id, j.lane, coalesce(j.route_model, j.model) AS model, j.priority, j.body, j.concurrency_key,
    j.concurrency_limit, CASE WHEN j.started_at IS NULL THEN j.expires_at END AS expires_at
  FROM due d JOIN jobs j ON j.id = d.job_id WHERE j.status = 'queued'
),
held AS (
  INSERT INTO held_back (job_id, tenant_id, key_id, concurrency_key, lane, model, priority, body_bytes, expires_at)
  SELECT id, tenant_id, key_id, concurrency_key, lane, model, priority, octet_length(body::text), expires_at
  FROM woken WHERE concurrency_key IS NOT NULL
)
SELECT id, tenant_id, lane, concurrency_key, concurrency_limit FROM woken
