-- Ends attempts for good: running -> succeeded | failed, guarded by the lease number.
--   arrays sorted by id: id, lease_no, status, result, error, usage, cost_usd, route, cache, timing, last_seq (the number of
--   the last event that the attempt told), deployment, ttft_ms, batch_size, attempt_error (where it is not the job's), model (that
--   served, where it is not the one of the queue); process_id. What route leaves null stays as it was told at acceptance
--   plain: pass over jobs whose tenant has webhook endpoints, because their events belong into the same commit, and jobs with a
--   concurrency key, because their place goes to the next in the same commit
-- Returns what ended; a row that is missing belongs to somebody else by now, and its result is dropped.
WITH input AS (
  SELECT * FROM unnest(
    CAST(:id AS uuid[]), CAST(:lease_no AS integer[]), CAST(:status AS text[]), CAST(:result AS text[]), CAST(:error AS text[]),
    CAST(:usage AS text[]), CAST(:cost_usd AS numeric[]), CAST(:route AS text[]), CAST(:cache AS text[]), CAST(:timing AS text[]),
    CAST(:last_seq AS integer[]), CAST(:deployment AS text[]), CAST(:ttft_ms AS double precision[]), CAST(:batch_size AS integer[]),
    CAST(:attempt_error AS text[]), CAST(:model AS text[]))
  AS t (id, lease_no, status, result, error, usage, cost_usd, route, cache, timing, last_seq, deployment, ttft_ms, batch_size,
        attempt_error, model)
),
ended AS (
  UPDATE jobs j SET status = i.status, result = i.result::json, error = i.error::jsonb, usage = i.usage::jsonb,
    cost_usd = i.cost_usd, cache = i.cache::jsonb, timing = i.timing::jsonb, finished_at = now(),
    route = CASE WHEN j.route IS NULL THEN i.route::jsonb
                 WHEN i.route IS NULL THEN j.route
                 ELSE i.route::jsonb || j.route || jsonb_strip_nulls(i.route::jsonb) END,
    version = j.version + 1, event_seq = i.last_seq + 1
  FROM input i
  WHERE j.id = i.id AND j.status = 'running' AND j.lease_no = i.lease_no
    AND NOT (:plain AND (j.concurrency_key IS NOT NULL
      OR EXISTS (SELECT FROM webhook_endpoints w WHERE w.tenant_id = j.tenant_id AND w.enabled)))
  RETURNING j.id, j.tenant_id, j.key_id, j.endpoint, j.lane, coalesce(i.model, j.route_model, j.model) AS model, j.group_id,
    j.webhook, j.status, j.event_seq, j.lease_no, j.attempts, j.started_at, j.concurrency_key, j.concurrency_limit, j.usage,
    j.cost_usd, j.cache, i.deployment, i.ttft_ms, i.batch_size, coalesce(i.attempt_error, i.error) AS error
),
freed AS (DELETE FROM running WHERE job_id = ANY (ARRAY(SELECT id FROM ended))),
tried AS (
  INSERT INTO attempts (job_id, lease_no, tenant_id, number, process_id, deployment, started_at, outcome, error, ttft_ms,
    batch_size, usage, cost_usd)
  SELECT id, lease_no, tenant_id, attempts, CAST(:process_id AS uuid), deployment, started_at, status, error::jsonb, ttft_ms,
    batch_size, usage, cost_usd FROM ended
),
told AS (
  INSERT INTO job_events (job_id, seq, last_seq, tenant_id, type)
  SELECT id, event_seq, event_seq, tenant_id, 'job.' || status FROM ended
),
-- The tokens of an answer from the cache were counted when it was made.
accounted AS (
  SELECT tenant_id, key_id, model, endpoint, lane, status, cost_usd, CASE WHEN cache ->> 'status' IN ('hit', 'semantic_hit')
    THEN jsonb_build_object('saved_tokens', cache #> '{saved,tokens}') ELSE usage END AS usage
  FROM ended
),
-- include: _account.sql
,
cached AS (SELECT tenant_id, endpoint, model, cache FROM ended),
-- include: _cache_tally.sql
SELECT id, tenant_id, group_id, status, webhook, concurrency_key, concurrency_limit,
  EXISTS (SELECT FROM webhook_endpoints w WHERE w.tenant_id = ended.tenant_id AND w.enabled) AS has_endpoints
FROM ended
