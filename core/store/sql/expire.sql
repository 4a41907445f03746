-- Ends jobs that did not start in time: queued -> expired.
--   most: how many at the most, of the ready ones and of those held back
WITH late_ready AS (
  SELECT r.job_id FROM ready r WHERE r.expires_at <= now() ORDER BY r.expires_at LIMIT :most FOR UPDATE SKIP LOCKED
),
late_held AS (
  SELECT h.job_id FROM held_back h WHERE h.expires_at <= now() ORDER BY h.expires_at LIMIT :most FOR UPDATE SKIP LOCKED
),
late AS (SELECT job_id FROM late_ready UNION ALL SELECT job_id FROM late_held),
left_ready AS (DELETE FROM ready WHERE job_id = ANY (ARRAY(SELECT job_id FROM late_ready))),
left_held AS (DELETE FROM held_back WHERE job_id = ANY (ARRAY(SELECT job_id FROM late_held))),
ended AS (
  UPDATE jobs j SET status = 'expired', finished_at = now(), version = j.version + 1, event_seq = j.event_seq + 1
  FROM late l WHERE j.id = l.job_id AND j.status = 'queued'
  RETURNING j.id, j.tenant_id, j.group_id, j.status, j.webhook, j.event_seq, j.concurrency_key, j.concurrency_limit
),
told AS (
  INSERT INTO job_events (job_id, seq, last_seq, tenant_id, type)
  SELECT id, event_seq, event_seq, tenant_id, 'job.expired' FROM ended
)
SELECT id, tenant_id, group_id, status, webhook, concurrency_key, concurrency_limit,
  EXISTS (SELECT FROM webhook_endpoints w WHERE w.tenant_id = ended.tenant_id AND w.enabled) AS has_endpoints
FROM ended
