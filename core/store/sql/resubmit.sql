-- Puts an ended job back into the queue: failed | cancelled | expired -> queued, with one more attempt allowed.
--   id; ending: the job as it ended, kept in the event stream because the row forgets it now
WITH before AS (
  SELECT id, event_seq FROM jobs WHERE id = :id AND status IN ('failed', 'cancelled', 'expired') FOR UPDATE
),
kept AS (
  UPDATE job_events e SET data = CAST(:ending AS json) FROM before b WHERE e.job_id = b.id AND e.seq = b.event_seq
),
again AS (
  UPDATE jobs j SET status = 'queued', version = j.version + 1, event_seq = j.event_seq + 1, run_at = now(),
    expires_at = now() + make_interval(secs => j.ttl_s), started_at = NULL, finished_at = NULL, result = NULL, error = NULL,
    usage = NULL, cost_usd = NULL, route = NULL, cache = NULL, timing = NULL,
    max_attempts = greatest(j.max_attempts, j.attempts + 1)
  FROM before b WHERE j.id = b.id
  RETURNING j.id, j.tenant_id, j.lane, j.model, j.priority, j.group_id, j.event_seq, j.expires_at,
    octet_length(j.body::text) AS body_bytes
),
told AS (
  INSERT INTO job_events (job_id, seq, last_seq, tenant_id, type, data)
  SELECT id, event_seq, event_seq, tenant_id, 'job.queued', '{}' FROM again
),
reopened AS (
  UPDATE groups g SET remaining = g.remaining + 1, finished_at = NULL, cancelled_at = NULL FROM again a WHERE g.id = a.group_id
),
entering AS (SELECT id AS job_id, tenant_id, lane, model, priority, body_bytes, expires_at FROM again),
-- include: _enter_ready.sql
SELECT id, tenant_id, lane FROM again
