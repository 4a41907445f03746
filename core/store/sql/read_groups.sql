-- Groups by id, with the states of their jobs counted and what they used summed.
--   id[]
-- cost_usd is the sum of what is known, null when nothing is; unpriced_jobs were answered, and nobody knows what they cost.
SELECT g.id, g.tenant_id, g.total, g.remaining, g.created_at, g.finished_at, g.cancelled_at, c.counts, c.cost_usd, c.unpriced_jobs,
  CASE WHEN c.total_tokens IS NOT NULL THEN json_build_object('input_tokens', c.input_tokens, 'output_tokens', c.output_tokens,
    'cached_tokens', c.cached_tokens, 'total_tokens', c.total_tokens)::text END AS usage
FROM unnest(CAST(:id AS uuid[])) AS i (id) JOIN groups g ON g.id = i.id
CROSS JOIN LATERAL (
  SELECT json_build_object('queued', count(*) FILTER (WHERE j.status = 'queued'),
      'running', count(*) FILTER (WHERE j.status = 'running'), 'succeeded', count(*) FILTER (WHERE j.status = 'succeeded'),
      'failed', count(*) FILTER (WHERE j.status = 'failed'), 'cancelled', count(*) FILTER (WHERE j.status = 'cancelled'),
      'expired', count(*) FILTER (WHERE j.status = 'expired'))::text AS counts,
    sum(j.cost_usd) AS cost_usd, count(*) FILTER (WHERE j.status = 'succeeded' AND j.cost_usd IS NULL) AS unpriced_jobs,
    sum((j.usage ->> 'input_tokens')::bigint) AS input_tokens,
    sum((j.usage ->> 'output_tokens')::bigint) AS output_tokens, sum((j.usage ->> 'cached_tokens')::bigint) AS cached_tokens,
    sum((j.usage ->> 'total_tokens')::bigint) AS total_tokens
  FROM jobs j WHERE j.group_id = g.id) c
