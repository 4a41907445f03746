-- Sends running jobs back to the queue: after a failed attempt (retried) or when a worker stops (handed_back: not counted).
--   arrays sorted by id: id, lease_no, outcome, reason, error, delay_s, last_seq, reset (deltas were shown already), deployment,
--   ttft_ms, batch_size, route_model (the queue it goes to, where it is another); process_id
-- Returns the jobs that went back, and whether enter.sql is to let them in, in the same transaction (the others wait for their time);
-- guarded by the lease number as finish.sql is.
WITH input AS (
  SELECT * FROM unnest(
    CAST(:id AS uuid[]), CAST(:lease_no AS integer[]), CAST(:outcome AS text[]), CAST(:reason AS text[]), CAST(:error AS text[]),
    CAST(:delay_s AS double precision[]), CAST(:last_seq AS integer[]), CAST(:reset AS boolean[]), CAST(:deployment AS text[]),
    CAST(:ttft_ms AS double precision[]), CAST(:batch_size AS integer[]), CAST(:route_model AS text[]))
  AS t (id, lease_no, outcome, reason, error, delay_s, last_seq, reset, deployment, ttft_ms, batch_size, route_model)
),
back AS (
  UPDATE jobs j SET status = 'queued', version = j.version + 1,
    attempts = j.attempts - (i.outcome = 'handed_back')::integer,
    run_at = CASE WHEN i.delay_s > 0 THEN now() + make_interval(secs => i.delay_s) ELSE j.run_at END,
    expires_at = greatest(j.expires_at, now() + make_interval(secs => i.delay_s)),
    event_seq = i.last_seq + 1 + i.reset::integer, route_model = nullif(coalesce(i.route_model, j.route_model), j.model)
  FROM input i
  WHERE j.id = i.id AND j.status = 'running' AND j.lease_no = i.lease_no
  RETURNING j.id, j.tenant_id, j.key_id, j.lane, coalesce(j.route_model, j.model) AS model, j.priority, j.run_at, j.event_seq, j.lease_no,
    j.attempts, j.started_at, j.body, j.concurrency_key, j.concurrency_limit, i.outcome, i.reason, i.error, i.delay_s, i.reset, i.deployment, i.ttft_ms, i.batch_size
),
freed AS (DELETE FROM running WHERE job_id = ANY (ARRAY(SELECT id FROM back))),
tried AS (
  INSERT INTO attempts (job_id, lease_no, tenant_id, number, process_id, deployment, started_at, outcome, error, ttft_ms, batch_size)
  SELECT id, lease_no, tenant_id, attempts + (outcome = 'handed_back')::integer, CAST(:process_id AS uuid), deployment, started_at,
    outcome, error::jsonb, ttft_ms, batch_size FROM back
),
told AS (
  INSERT INTO job_events (job_id, seq, last_seq, tenant_id, type, data)
  SELECT id, event_seq - 1, event_seq - 1, tenant_id, 'job.reset', json_build_object('reason', reason) FROM back WHERE reset
  UNION ALL
  SELECT id, event_seq, event_seq, tenant_id, 'job.retrying', json_build_object('reason', reason, 'run_at',
    to_char(greatest(run_at, now()) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')) FROM back
),
put_off AS (
  INSERT INTO waiting (job_id, tenant_id, key_id, run_at) SELECT id, tenant_id, key_id, run_at FROM back WHERE delay_s > 0
),
held AS (
  INSERT INTO held_back (job_id, tenant_id, key_id, concurrency_key, lane, model, priority, body_bytes)
  SELECT id, tenant_id, key_id, concurrency_key, lane, model, priority, octet_length(body::text)
  FROM back WHERE delay_s <= 0 AND concurrency_key IS NOT NULL
)
SELECT id, tenant_id, lane, concurrency_key, concurrency_limit, delay_s <= 0 AS enters FROM back
