-- Its columns grow by the limits, so it has to be made anew; the version before asks for the columns it knows by name.
DROP FUNCTION api_key_by_hash(bytea)
-----
-- The row behind an API key, by the hash of the key: the one look-up that comes before any tenant is known.
CREATE FUNCTION api_key_by_hash(hash bytea)
RETURNS TABLE (id uuid, tenant_id uuid, scopes text[], requests_per_minute integer, token_hash bytea, tokens_per_minute bigint,
  max_in_flight integer, max_queued integer, budget_day_usd numeric, budget_month_usd numeric,
  tenant_requests_per_minute integer, tenant_tokens_per_minute bigint, tenant_max_in_flight integer, tenant_max_queued integer,
  tenant_budget_day_usd numeric, tenant_budget_month_usd numeric)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
AS $$ SELECT k.id, k.tenant_id, k.scopes, k.requests_per_minute, k.token_hash, k.tokens_per_minute, k.max_in_flight, k.max_queued,
        k.budget_day_usd, k.budget_month_usd, t.requests_per_minute, t.tokens_per_minute, t.max_in_flight, t.max_queued,
        t.budget_day_usd, t.budget_month_usd
      FROM api_keys k JOIN tenants t ON t.id = k.tenant_id WHERE k.token_hash = hash AND k.revoked_at IS NULL $$
-----
-- What a worker must know of keys and their tenants before it starts their jobs.
CREATE FUNCTION limits_of_keys(wanted uuid[])
RETURNS TABLE (key_id uuid, tenant_id uuid, tokens_per_minute bigint, max_in_flight integer, budget_day_usd numeric,
  budget_month_usd numeric, tenant_tokens_per_minute bigint, tenant_max_in_flight integer, tenant_budget_day_usd numeric,
  tenant_budget_month_usd numeric)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
AS $$ SELECT k.id, k.tenant_id, k.tokens_per_minute, k.max_in_flight, k.budget_day_usd, k.budget_month_usd,
        t.tokens_per_minute, t.max_in_flight, t.budget_day_usd, t.budget_month_usd
      FROM api_keys k JOIN tenants t ON t.id = k.tenant_id WHERE k.id = ANY (wanted) $$
-----
-- How many jobs of the lane, whoever owns them, have their turn up to and including this one; null unless it may start soon.
-- A job's turn is not its own tag: priority orders the jobs of one tenant, the tenant's tags order the turns. Counts to `most`.
-- A job that its concurrency key holds back stands behind those of the key that are ready or running and those held back before it.
CREATE OR REPLACE FUNCTION queue_position(job uuid, most integer) RETURNS integer
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  WITH mine AS (SELECT * FROM ready WHERE job_id = job),
  rank AS (
    SELECT count(*) AS ahead FROM (
      SELECT FROM ready r, mine m
      WHERE r.lane = m.lane AND r.model = m.model AND r.tenant_id = m.tenant_id
        AND (r.priority > m.priority OR (r.priority = m.priority AND r.job_id < m.job_id))
      LIMIT most) AS before
  ),
  turn AS (
    SELECT t.tag, t.job_id FROM mine m, rank, LATERAL (
      SELECT r.tag, r.job_id FROM ready r
      WHERE r.lane = m.lane AND r.model = m.model AND r.tenant_id = m.tenant_id
      ORDER BY r.tag, r.job_id OFFSET rank.ahead LIMIT 1) t
    WHERE rank.ahead < most
  ),
  held AS (SELECT * FROM held_back WHERE job_id = job)
  SELECT CASE
    WHEN EXISTS (SELECT FROM held) THEN least(most, 1
      + (SELECT count(*) FROM (SELECT FROM ready r, held h
           WHERE r.tenant_id = h.tenant_id AND r.concurrency_key = h.concurrency_key LIMIT most) AS before)
      + (SELECT count(*) FROM (SELECT FROM running r, held h
           WHERE r.tenant_id = h.tenant_id AND r.concurrency_key = h.concurrency_key LIMIT most) AS before)
      + (SELECT count(*) FROM (SELECT FROM held_back o, held h
           WHERE o.tenant_id = h.tenant_id AND o.concurrency_key = h.concurrency_key
             AND (o.priority > h.priority OR (o.priority = h.priority AND o.job_id < h.job_id)) LIMIT most) AS before))
    WHEN NOT EXISTS (SELECT FROM mine) THEN NULL
    WHEN NOT EXISTS (SELECT FROM turn) THEN most
    ELSE least(most, 1 + (SELECT count(*) FROM (
      SELECT FROM ready r, mine m, turn t
      WHERE r.lane = m.lane AND r.model = m.model AND (r.tag, r.job_id) < (t.tag, t.job_id) LIMIT most) AS before))
  END::integer
$$
