-- Lets jobs in whose time has come.
--   most: how many at the most
-- Returns the lanes that got work.
WITH due AS (
  SELECT w.job_id FROM waiting w WHERE w.run_at <= now() ORDER BY w.run_at LIMIT :most FOR UPDATE SKIP LOCKED
),
left_waiting AS (DELETE FROM waiting w USING due d WHERE w.job_id = d.job_id),
entering AS (
  SELECT j.id AS job_id, j.tenant_id, j.lane, j.model, j.priority, octet_length(j.body::text) AS body_bytes,
    CASE WHEN j.started_at IS NULL THEN j.expires_at END AS expires_at
  FROM due d JOIN jobs j ON j.id = d.job_id WHERE j.status = 'queued'
),
-- include: _enter_ready.sql
SELECT lane, count(*) AS jobs FROM entering GROUP BY lane
