-- Puts an ended job back: failed | cancelled | expired -> queued, with one more attempt allowed. enter.sql lets it into the queue,
-- in the same transaction.
--   id; ending: the job as it ended, kept in the event stream because the row forgets it now
-- Who reads a stream puts its deltas together, so one that may have shown some is told to forget them before it begins again.
WITH before AS (
  SELECT id, event_seq FROM jobs WHERE id = :id AND status IN ('failed', 'cancelled', 'expired') FOR UPDATE
),
kept AS (
  UPDATE job_events e SET data = CAST(:ending AS json) FROM before b WHERE e.job_id = b.id AND e.seq = b.event_seq
),
again AS (
  UPDATE jobs j SET status = 'queued', version = j.version + 1, event_seq = j.event_seq + 1 + (j.stream AND j.attempts > 0)::integer,
    run_at = now(), expires_at = now() + make_interval(secs => j.ttl_s), started_at = NULL, finished_at = NULL, result = NULL, error = NULL,
    usage = NULL, cost_usd = NULL, cache = NULL, timing = NULL,
    route = CASE WHEN j.route_model IS NOT NULL THEN j.route - '{deployment,region,fallbacks}'::text[] END,
    max_attempts = greatest(j.max_attempts, j.attempts + 1)
  FROM before b WHERE j.id = b.id
  RETURNING j.id, j.tenant_id, j.key_id, j.lane, coalesce(j.route_model, j.model) AS model, j.priority, j.group_id, j.event_seq,
    j.expires_at, j.body, j.concurrency_key, j.concurrency_limit, j.stream AND j.attempts > 0 AS streamed
),
told AS (
  INSERT INTO job_events (job_id, seq, last_seq, tenant_id, type, data)
  SELECT id, event_seq - 1, event_seq - 1, tenant_id, 'job.reset', json_build_object('reason', 'resubmitted')
  FROM again WHERE streamed
  UNION ALL
  SELECT id, event_seq, event_seq, tenant_id, 'job.queued', '{}' FROM again
),
reopened AS (
  UPDATE groups g SET remaining = g.remaining + 1, finished_at = NULL, cancelled_at = NULL FROM again a WHERE g.id = a.group_id
),
held AS (
  INSERT INTO held_back (job_id, tenant_id, key_id, concurrency_key, lane, model, priority, body_bytes, expires_at)
  SELECT id, tenant_id, key_id, concurrency_key, lane, model, priority, octet_length(body::text), expires_at
  FROM again WHERE concurrency_key IS NOT NULL
)
SELECT id, tenant_id, lane, concurrency_key, concurrency_limit FROM again
