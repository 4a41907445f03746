-- Cancels jobs: queued | running -> cancelled. Their places were locked by lock_places.sql and they by lock_jobs.sql.
--   id[]
-- A worker that streamed may be ahead of what it stored, so its event numbers are jumped over.
-- Returns the jobs that this call cancelled; was_running names those whose worker must be told.
WITH before AS MATERIALIZED (
  SELECT j.id, j.status, r.process_id, r.deployment, r.batch_size FROM jobs j LEFT JOIN running r ON r.job_id = j.id
  WHERE j.id = ANY (CAST(:id AS uuid[])) AND j.status IN ('queued', 'running') ORDER BY j.id FOR UPDATE OF j
),
ended AS (
  UPDATE jobs j SET status = 'cancelled', finished_at = now(), version = j.version + 1,
    event_seq = CASE WHEN j.stream AND b.status = 'running' THEN j.event_seq + 1000000 ELSE j.event_seq END + 1
  FROM before b WHERE j.id = b.id
  RETURNING j.id, j.tenant_id, j.group_id, j.status, j.webhook, j.event_seq, j.lease_no, j.attempts, j.started_at,
    j.concurrency_key, j.concurrency_limit, b.status AS previous, b.process_id, b.deployment, b.batch_size
),
left_ready AS (DELETE FROM ready q USING ended e WHERE q.job_id = e.id),
left_waiting AS (DELETE FROM waiting q USING ended e WHERE q.job_id = e.id),
left_held AS (DELETE FROM held_back q USING ended e WHERE q.job_id = e.id),
left_running AS (DELETE FROM running q USING ended e WHERE q.job_id = e.id),
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
