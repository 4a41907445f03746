-- Takes jobs from processes whose lease has run out: back to the queue, or failed when no attempt is left.
--   most: how many at the most. The database's clock judges; a process that wakes up later finds its lease numbers outdated.
-- A worker that streamed may have shown deltas that were never stored, so its numbers are jumped over.
-- Returns the jobs taken, with their new status; enter.sql lets in those that are queued again, in the same transaction.
WITH lost AS (
  SELECT r.job_id, r.lease_no, r.process_id, r.deployment, r.batch_size FROM running r
  WHERE NOT EXISTS (SELECT FROM processes p WHERE p.id = r.process_id AND p.lease_until > now())
  ORDER BY r.job_id LIMIT :most
),
locked AS MATERIALIZED (
  SELECT j.id, l.process_id, l.deployment, l.batch_size, j.attempts >= j.max_attempts AS spent, j.stream FROM lost l JOIN jobs j ON j.id = l.job_id
  WHERE j.status = 'running' AND j.lease_no = l.lease_no
  ORDER BY j.id FOR UPDATE OF j SKIP LOCKED
),
taken AS (
  UPDATE jobs j SET status = CASE WHEN k.spent THEN 'failed' ELSE 'queued' END, version = j.version + 1,
    finished_at = CASE WHEN k.spent THEN now() END,
    error = CASE WHEN k.spent THEN jsonb_build_object('code', 'attempts_exhausted', 'retryable', false, 'upstream_status', NULL,
      'message', format('The worker was lost in attempt %s of %s.', j.attempts, j.max_attempts)) END,
    event_seq = CASE WHEN k.stream THEN j.event_seq + 1000001 ELSE j.event_seq END + 1
  FROM locked k WHERE j.id = k.id
  RETURNING j.id, j.tenant_id, j.key_id, j.group_id, j.endpoint, j.lane, coalesce(j.route_model, j.model) AS model, j.priority, j.status,
    j.webhook, j.event_seq, j.lease_no, j.attempts, j.started_at, j.stream, j.body, j.concurrency_key, j.concurrency_limit,
    k.process_id, k.deployment, k.batch_size
),
freed AS (DELETE FROM running WHERE job_id = ANY (ARRAY(SELECT id FROM taken))),
tried AS (
  INSERT INTO attempts (job_id, lease_no, tenant_id, number, process_id, deployment, started_at, outcome, error, batch_size)
  SELECT id, lease_no, tenant_id, attempts, process_id, deployment, started_at, 'lost',
    '{"code": "worker_lost", "message": "The worker stopped renewing its lease.", "retryable": true, "upstream_status": null}',
    batch_size
  FROM taken
),
told AS (
  INSERT INTO job_events (job_id, seq, last_seq, tenant_id, type, data)
  SELECT id, event_seq - 1, event_seq - 1, tenant_id, 'job.reset', json_build_object('reason', 'worker_lost')
  FROM taken WHERE stream AND status = 'queued'
  UNION ALL
  SELECT id, event_seq, event_seq, tenant_id, CASE status WHEN 'failed' THEN 'job.failed' ELSE 'job.retrying' END,
    CASE status WHEN 'queued' THEN json_build_object('reason', 'worker_lost', 'run_at',
      to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')) END
  FROM taken
),
held AS (
  INSERT INTO held_back (job_id, tenant_id, key_id, concurrency_key, lane, model, priority, body_bytes)
  SELECT id, tenant_id, key_id, concurrency_key, lane, model, priority, octet_length(body::text)
  FROM taken WHERE status = 'queued' AND concurrency_key IS NOT NULL
),
accounted AS (
  SELECT tenant_id, key_id, model, endpoint, lane, status, NULL::jsonb AS usage, NULL::numeric AS cost_usd
  FROM taken WHERE status = 'failed'
),
-- include: _account.sql
SELECT id, tenant_id, group_id, lane, status, webhook, concurrency_key, concurrency_limit,
  EXISTS (SELECT FROM webhook_endpoints w WHERE w.tenant_id = taken.tenant_id AND w.enabled) AS has_endpoints
FROM taken
