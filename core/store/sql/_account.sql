-- Fragment: adds the jobs of the CTE `accounted` to the books of the day, one row for each tenant, key, model, endpoint and lane.
--   accounted: (tenant_id uuid, key_id uuid, model text, endpoint text, lane text, status text, usage jsonb, cost_usd numeric)
-- Summed first and in the order of the primary key: a commit touches a row once, and two commits never wait crosswise. A row
-- stays locked until the commit is on disk, so each connection writes to one of eight slots instead of queueing up behind another.
-- unpriced: it was answered, and nobody knows what it cost.
booked AS (
  INSERT INTO usage_days AS u (tenant_id, day, key_id, model, endpoint, lane, slot, jobs, failed, input_tokens, output_tokens,
    cached_tokens, saved_tokens, cost_usd, unpriced_jobs)
  SELECT a.tenant_id, (now() AT TIME ZONE 'UTC')::date,
    coalesce(a.key_id, '00000000-0000-0000-0000-000000000000') AS key, a.model, a.endpoint, a.lane, pg_backend_pid() % 8,
    count(*), count(*) FILTER (WHERE a.status = 'failed'), coalesce(sum((a.usage ->> 'input_tokens')::bigint), 0),
    coalesce(sum((a.usage ->> 'output_tokens')::bigint), 0), coalesce(sum((a.usage ->> 'cached_tokens')::bigint), 0),
    coalesce(sum((a.usage ->> 'saved_tokens')::bigint), 0), coalesce(sum(a.cost_usd), 0),
    count(*) FILTER (WHERE a.status = 'succeeded' AND a.cost_usd IS NULL)
  FROM accounted a GROUP BY a.tenant_id, key, a.model, a.endpoint, a.lane
  ORDER BY a.tenant_id, key, a.model, a.endpoint, a.lane
  ON CONFLICT (tenant_id, day, key_id, model, endpoint, lane, slot) DO UPDATE SET jobs = u.jobs + excluded.jobs,
    failed = u.failed + excluded.failed, input_tokens = u.input_tokens + excluded.input_tokens,
    output_tokens = u.output_tokens + excluded.output_tokens, cached_tokens = u.cached_tokens + excluded.cached_tokens,
    saved_tokens = u.saved_tokens + excluded.saved_tokens, cost_usd = u.cost_usd + excluded.cost_usd,
    unpriced_jobs = u.unpriced_jobs + excluded.unpriced_jobs
)
