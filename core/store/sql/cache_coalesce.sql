-- Ends followers with the result of their leader: queued -> succeeded, without an attempt of their own.
--   arrays sorted by id: id, leader; deltas (a JSON array of the deltas' data, null where the job does not stream), delta_count
--   saved: text[], for each what it was spared, as JSON
-- The leader succeeded in this transaction, and cache_followers.sql holds the followers' places locked.
-- Returns what ended.
WITH input AS MATERIALIZED (
  SELECT * FROM unnest(CAST(:id AS uuid[]), CAST(:leader AS uuid[]), CAST(:deltas AS text[]), CAST(:delta_count AS integer[]),
    CAST(:saved AS text[])) AS t (id, leader, deltas, delta_count, saved)
),
ended AS (
  UPDATE jobs j SET status = 'succeeded', finished_at = now(), result = l.result, usage = l.usage, cost_usd = 0,
    route = coalesce(j.route, '{}') || jsonb_strip_nulls(coalesce(l.route, '{}')),
    cache = jsonb_build_object('status', 'coalesced', 'similarity', NULL, 'age_s', NULL, 'saved', i.saved::jsonb),
    timing = (SELECT jsonb_build_object('queued_ms', ms, 'batch_size', NULL, 'connect_ms', NULL, 'ttft_ms', NULL, 'itl_ms', NULL,
      'tokens_per_s', NULL, 'upstream_ms', NULL, 'overhead_ms', ms, 'total_ms', ms)
      FROM (SELECT round(extract(epoch FROM now() - greatest(j.created_at, j.run_at)) * 1000, 3) AS ms) t),
    version = j.version + 1, event_seq = j.event_seq + i.delta_count + 1
  FROM input i JOIN jobs l ON l.id = i.leader
  WHERE j.id = i.id AND j.status = 'queued'
  RETURNING j.id, j.tenant_id, j.key_id, j.group_id, j.status, j.webhook, j.event_seq, j.endpoint, j.lane,
    coalesce(j.route_model, j.model) AS model, j.cache, j.concurrency_key, j.concurrency_limit, i.deltas, i.delta_count
),
left_held AS (DELETE FROM held_back WHERE job_id = ANY (ARRAY(SELECT id FROM ended))),
told AS (
  INSERT INTO job_events (job_id, seq, last_seq, tenant_id, type, data)
  SELECT id, event_seq - delta_count, event_seq - 1, tenant_id, 'job.delta', deltas::json FROM ended WHERE delta_count > 0
  UNION ALL
  SELECT id, event_seq, event_seq, tenant_id, 'job.succeeded', NULL FROM ended
),
accounted AS (
  SELECT tenant_id, key_id, model, endpoint, lane, status, jsonb_build_object('saved_tokens', cache #> '{saved,tokens}') AS usage,
    0::numeric AS cost_usd
  FROM ended
),
-- include: _account.sql
,
cached AS (SELECT tenant_id, endpoint, model, cache FROM ended),
-- include: _cache_tally.sql
SELECT id, tenant_id, group_id, status, webhook, concurrency_key, concurrency_limit,
  EXISTS (SELECT FROM webhook_endpoints w WHERE w.tenant_id = ended.tenant_id AND w.enabled) AS has_endpoints
FROM ended
