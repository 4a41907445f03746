-- Accepts jobs: rows, and their place in the queue, in one statement.
--   tenants: whose jobs these are, comma-separated: the rows of the input come after the setting that lets row security pass them
--   one array per column, all of one length; run_at null means now; group_id null outside a group; route_model null means model
--   later: nobody enters the queue yet, because enter.sql lets them in at the end of the transaction; without it there must be no
--   job with a concurrency key among them
-- Returns one row: the time that all of them carry as created_at.
WITH scope AS MATERIALIZED (SELECT set_config('app.tenants', CAST(:tenants AS text), true) AS seen),
input AS MATERIALIZED (
  SELECT t.* FROM scope, LATERAL unnest(
    CAST(:id AS uuid[]), CAST(:tenant_id AS uuid[]), CAST(:key_id AS uuid[]), CAST(:endpoint AS text[]), CAST(:model AS text[]),
    CAST(:route_model AS text[]), CAST(:route AS text[]), CAST(:lane AS text[]),
    CAST(:priority AS smallint[]), CAST(:body AS text[]), CAST(:stream AS boolean[]), CAST(:metadata AS text[]),
    CAST(:webhook AS text[]), CAST(:cache_options AS text[]), CAST(:group_id AS uuid[]), CAST(:schedule_id AS uuid[]), CAST(:concurrency_key AS text[]),
    CAST(:concurrency_limit AS integer[]), CAST(:max_attempts AS smallint[]),
    CAST(:timeout_s AS double precision[]), CAST(:ttl_s AS double precision[]), CAST(:run_at AS timestamptz[]),
    CAST(:expires_at AS timestamptz[]), CAST(:request_id AS text[]), CAST(:traceparent AS text[]))
  AS t (id, tenant_id, key_id, endpoint, model, route_model, route, lane, priority, body, stream, metadata, webhook, cache_options,
        group_id, schedule_id, concurrency_key, concurrency_limit, max_attempts, timeout_s, ttl_s, run_at, expires_at, request_id,
        traceparent)
  WHERE scope.seen IS NOT NULL
),
accepted AS (
  INSERT INTO jobs (id, tenant_id, key_id, status, endpoint, model, route_model, route, lane, priority, body, stream, metadata,
    webhook, cache_options, group_id, schedule_id, concurrency_key, concurrency_limit, max_attempts, timeout_s, ttl_s, created_at,
    run_at, expires_at, request_id, traceparent)
  SELECT id, tenant_id, key_id, 'queued', endpoint, model, nullif(route_model, model), route::jsonb, lane, priority, body::json,
    stream, metadata::jsonb, webhook::jsonb, cache_options::jsonb, group_id, schedule_id, concurrency_key, concurrency_limit, max_attempts,
    timeout_s, ttl_s, now(), coalesce(run_at, now()), coalesce(expires_at, now() + make_interval(secs => ttl_s)), request_id,
    traceparent
  FROM input
),
at_once AS (
  SELECT id AS job_id, tenant_id, key_id, concurrency_key, lane, coalesce(route_model, model) AS model, priority,
    octet_length(body) AS body_bytes, coalesce(expires_at, now() + make_interval(secs => ttl_s)) AS expires_at
  FROM input WHERE run_at IS NULL OR run_at <= now()
),
put_off AS (
  INSERT INTO waiting (job_id, tenant_id, key_id, run_at) SELECT id, tenant_id, key_id, run_at FROM input WHERE run_at > now()
),
held AS (
  INSERT INTO held_back (job_id, tenant_id, key_id, concurrency_key, lane, model, priority, body_bytes, expires_at)
  SELECT job_id, tenant_id, key_id, concurrency_key, lane, model, priority, body_bytes, expires_at
  FROM at_once WHERE concurrency_key IS NOT NULL
),
entering AS (SELECT * FROM at_once WHERE concurrency_key IS NULL AND NOT :later),
-- include: _enter_ready.sql
SELECT now() AS created_at
