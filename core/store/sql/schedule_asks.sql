-- What a tenant asked for and a cache can answer, in some ranges of time: one row for each entry that was asked for in more than one
-- hour and was answered, those asked for in most hours first.
--   tenant_id; low[], high[]: job ids, from low to below high; most_each: so many jobs are looked at in each range, its newest
--   endpoint, model: as they were asked for, null for any; version: first byte of the keys that are made now, in hex
--   most: so many entries at the most
-- What schedules made does not count, nor what nobody waits for: only asks that a warm cache would have made quicker.
-- Returns key (hex), at[] and times[] (epoch seconds of quarters of an hour, and how often it was asked for in each), job_id (the newest
-- that was answered), endpoint, model, and means of what an answer takes: ms, usd, tokens; since: the first ask of all.
WITH looked_at AS MATERIALIZED (
  SELECT j.id, j.endpoint, j.model, j.cache_options #>> '{plan,key}' AS key, date_bin('15 minutes', j.created_at, 'epoch') AS at,
    j.status = 'succeeded' AS answered,
    coalesce(j.cache #>> '{saved,ms}', j.timing ->> 'upstream_ms')::double precision AS ms,
    CASE WHEN j.cache ? 'saved' THEN (j.cache #>> '{saved,usd}')::numeric ELSE j.cost_usd END AS usd,
    coalesce(j.cache #>> '{saved,tokens}', j.usage ->> 'total_tokens')::bigint AS tokens
  FROM unnest(CAST(:low AS uuid[]), CAST(:high AS uuid[])) AS span (low, high) CROSS JOIN LATERAL (
    SELECT id, endpoint, model, status, created_at, cache_options, cache, timing, usage, cost_usd FROM jobs
    WHERE tenant_id = :tenant_id AND id >= span.low AND id < span.high AND schedule_id IS NULL AND lane IN ('interactive', 'default')
    ORDER BY id DESC LIMIT :most_each) j
  WHERE j.cache_options #>> '{plan,look}' = 'true' AND left(j.cache_options #>> '{plan,key}', 2) = :version
    AND (CAST(:endpoint AS text) IS NULL OR j.endpoint = :endpoint) AND (CAST(:model AS text) IS NULL OR j.model = :model)
),
asked AS (
  SELECT key, at, count(*) AS times, (array_agg(id ORDER BY id DESC) FILTER (WHERE answered))[1] AS newest,
    min(endpoint) AS endpoint, min(model) AS model, sum(ms) AS ms, count(ms) AS with_ms, sum(usd) AS usd, count(usd) AS with_usd,
    sum(tokens) AS tokens, count(tokens) AS with_tokens
  FROM looked_at GROUP BY key, at
)
SELECT key, array_agg(extract(epoch FROM at)::bigint) AS at, array_agg(times) AS times,
  (array_agg(newest ORDER BY at DESC) FILTER (WHERE newest IS NOT NULL))[1] AS job_id, min(endpoint) AS endpoint, min(model) AS model,
  sum(ms) / sum(with_ms) AS ms, round(sum(usd) / nullif(sum(with_usd), 0), 9) AS usd,
  coalesce(sum(tokens) / nullif(sum(with_tokens), 0), 0)::bigint AS tokens, (SELECT min(at) FROM looked_at) AS since
FROM asked GROUP BY key
HAVING count(DISTINCT date_trunc('hour', at, 'UTC')) > 1 AND count(newest) > 0 AND sum(with_ms) > 0
ORDER BY count(DISTINCT date_trunc('hour', at, 'UTC')) DESC, key LIMIT :most
