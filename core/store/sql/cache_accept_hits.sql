-- Accepts jobs that are answered already: rows that have succeeded, with their events, in one statement. They never queue.
--   tenants: whose jobs these are, comma-separated, as in accept.sql
--   arrays sorted by id: the columns of the job; result, usage, cache, route, timing as JSON text; deltas (a JSON array of the deltas'
--   data, null where the job does not stream) and delta_count
--   plain: pass over jobs whose tenant has webhook endpoints, because their events belong into the same commit
-- Events: 1 is job.queued, which nobody stores; then the deltas in one row; then the end.
-- Returns what was stored.
WITH scope AS MATERIALIZED (SELECT set_config('app.tenants', CAST(:tenants AS text), true) AS seen),
input AS MATERIALIZED (
  SELECT t.*, e.has_endpoints FROM scope, LATERAL unnest(
    CAST(:id AS uuid[]), CAST(:tenant_id AS uuid[]), CAST(:key_id AS uuid[]), CAST(:endpoint AS text[]), CAST(:model AS text[]),
    CAST(:route_model AS text[]), CAST(:route AS text[]), CAST(:lane AS text[]), CAST(:priority AS smallint[]), CAST(:body AS text[]),
    CAST(:stream AS boolean[]), CAST(:metadata AS text[]), CAST(:webhook AS text[]), CAST(:cache_options AS text[]),
    CAST(:group_id AS uuid[]), CAST(:schedule_id AS uuid[]), CAST(:max_attempts AS smallint[]), CAST(:timeout_s AS double precision[]),
    CAST(:ttl_s AS double precision[]), CAST(:expires_at AS timestamptz[]), CAST(:request_id AS text[]), CAST(:traceparent AS text[]),
    CAST(:result AS text[]), CAST(:usage AS text[]), CAST(:cache AS text[]), CAST(:timing AS text[]), CAST(:deltas AS text[]),
    CAST(:delta_count AS integer[]))
  AS t (id, tenant_id, key_id, endpoint, model, route_model, route, lane, priority, body, stream, metadata, webhook, cache_options,
        group_id, schedule_id, max_attempts, timeout_s, ttl_s, expires_at, request_id, traceparent, result, usage, cache, timing,
        deltas, delta_count)
  -- Looks at the scope, so that it runs after the setting is made.
  CROSS JOIN LATERAL (SELECT EXISTS (
    SELECT FROM webhook_endpoints w WHERE scope.seen IS NOT NULL AND w.tenant_id = t.tenant_id AND w.enabled) AS has_endpoints) e
  WHERE scope.seen IS NOT NULL
),
taken AS MATERIALIZED (
  SELECT * FROM input WHERE NOT (:plain AND (has_endpoints OR webhook IS NOT NULL OR group_id IS NOT NULL))
),
accepted AS (
  INSERT INTO jobs (id, tenant_id, key_id, status, endpoint, model, route_model, route, lane, priority, body, stream, metadata,
    webhook, cache_options, group_id, schedule_id, max_attempts, timeout_s, ttl_s, created_at, run_at, expires_at, finished_at,
    event_seq, result, usage, cost_usd, cache, timing, request_id, traceparent)
  SELECT id, tenant_id, key_id, 'succeeded', endpoint, model, nullif(route_model, model), route::jsonb, lane, priority, body::json,
    stream, metadata::jsonb, webhook::jsonb, cache_options::jsonb, group_id, schedule_id, max_attempts, timeout_s, ttl_s, now(), now(),
    coalesce(expires_at, now() + make_interval(secs => ttl_s)), now(), delta_count + 2, result::json, usage::jsonb, 0,
    cache::jsonb, timing::jsonb, request_id, traceparent
  FROM taken
),
told AS (
  INSERT INTO job_events (job_id, seq, last_seq, tenant_id, type, data)
  SELECT id, 2, delta_count + 1, tenant_id, 'job.delta', deltas::json FROM taken WHERE delta_count > 0
  UNION ALL
  SELECT id, delta_count + 2, delta_count + 2, tenant_id, 'job.succeeded', NULL FROM taken
),
-- The tokens of the answer were counted when it was made.
accounted AS (
  SELECT tenant_id, key_id, coalesce(route_model, model) AS model, endpoint, lane, 'succeeded' AS status,
    jsonb_build_object('saved_tokens', cache::jsonb #> '{saved,tokens}') AS usage, 0::numeric AS cost_usd
  FROM taken
),
-- include: _account.sql
,
cached AS (SELECT tenant_id, endpoint, coalesce(route_model, model) AS model, cache::jsonb AS cache FROM taken),
-- include: _cache_tally.sql
SELECT id, tenant_id, group_id, 'succeeded' AS status, webhook, has_endpoints, now() AS created_at FROM taken
