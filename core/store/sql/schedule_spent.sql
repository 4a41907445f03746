-- What the jobs of a run have used so far.
--   id
SELECT count(*) FILTER (WHERE j.finished_at IS NULL) AS unfinished, coalesce(sum(u.tokens), 0)::bigint AS tokens,
  coalesce(max(u.tokens), 0)::bigint AS most_tokens, coalesce(sum(j.cost_usd), 0) AS cost_usd, coalesce(max(j.cost_usd), 0) AS most_cost_usd
FROM jobs j CROSS JOIN LATERAL (SELECT (j.usage ->> 'total_tokens')::bigint AS tokens) u
WHERE j.group_id = :id
