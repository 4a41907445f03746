-- Cancels jobs: queued | running -> cancelled. Their places were locked by lock_places.sql and they by lock_jobs.sql.
--   id[], thousands of them for a group
-- Places are looked up one by one, or by the array: a join with these tables that was planned while they were empty would
-- compare all with all.
-- A worker that streamed may be ahead of what it stored, so its event numbers are jumped over.
-- Returns the jobs that this call cancelled; was_running names those whose worker must be told.
WITH before AS MATERIALIZED (
  SELECT j.id, j.status, r.process_id, r.deployment, r.batch_size FROM jobs j
  LEFT JOIN LATERAL (SELECT process_id, deployment, batch_size FROM running WHERE job_id = j.id OFFSET 0) r ON true
  WHERE j.id = ANY (CAST(:id AS uuid[])) AND j.status IN ('queued', 'running') ORDER BY j.id FOR UPDATE OF j
),
ended AS (
  UPDATE jobs j SET status = 'cancelled', finished_at = now(), version = j.version + 1,
    event_seq = CASE WHEN j.stream AND b.status = 'running' THEN j.event_seq + 1000000 ELSE j.event_seq END + 1
  FROM before b WHERE j.id = b.id
  RETURNING j.id, j.tenant_id, j.group_id, j.status, j.webhook, j.event_seq, j.lease_no, j.attempts, j.started_at,
    j.concurrency_key, j.concurrency_limit, b.status AS previous, b.process_id, b.deployment, b.batch_size
),
left_ready AS (DELETE FROM ready WHERE job_id = ANY (CAST(:id AS uuid[]))),
left_waiting AS (DELETE FROM waiting WHERE job_id = ANY (CAST(:id AS uuid[]))),
left_held AS (DELETE FROM held_back WHERE job_id = ANY (CAST(:id AS uuid[]))),
left_running AS (DELETE FROM running WHERE job_id = ANY (CAST(:id AS uuid[]))),
tried AS (
  INSERT INTO attempts (job_id, lease_no, tenant_id, number, process_id, deployment, started_at, outcome, batch_size)
  SELECT id, lease_no, tenant_id, attempts, process_id, deployment, started_at, 'cancelled', batch_size FROM ended WHERE previous = 'running'
),
told AS (
  INSERT INTO job_events (job_id, seq, last_seq, tenant_id, type)
  SELECT id, event_seq, event_seq, tenant_id, 'job.cancelled' FROM ended
)
SELECT id, tenant_id, group_id, status, webhook, concurrency_key, concurrency_limit, previous = 'running' AS was_running,
  EXISTS (SELECT FROM webhook_endpoints w WHERE w.tenant_id = ended.tenant_id AND w.enabled) AS has_endpoints
FROM ended
