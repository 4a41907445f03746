-- Jobs that their concurrency key held back become ready: the version before knows no other place for them.
INSERT INTO ready (job_id, tenant_id, lane, model, tag, priority, body_bytes, expires_at)
SELECT h.job_id, h.tenant_id, h.lane, h.model,
  c.virtual_time + row_number() OVER (PARTITION BY h.lane, h.tenant_id ORDER BY h.priority DESC, h.job_id),
  h.priority, h.body_bytes, h.expires_at
FROM held_back h JOIN lane_clocks c ON c.lane = h.lane
-----
-- It also takes the model of a job for the name of its queue.
UPDATE jobs SET model = route_model WHERE route_model IS NOT NULL AND finished_at IS NULL
-----
DROP TABLE usage_days, held_back, concurrency_keys
-----
DROP FUNCTION limits_of_keys(uuid[]), api_key_by_hash(bytea)
-----
-- The row behind an API key, by the hash of the key: the one look-up that comes before any tenant is known.
CREATE FUNCTION api_key_by_hash(hash bytea)
RETURNS TABLE (id uuid, tenant_id uuid, scopes text[], requests_per_minute integer, token_hash bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
AS $$ SELECT k.id, k.tenant_id, k.scopes, k.requests_per_minute, k.token_hash
      FROM api_keys k WHERE k.token_hash = hash AND k.revoked_at IS NULL $$;
-----
REVOKE ALL ON FUNCTION api_key_by_hash(bytea) FROM PUBLIC
-----
GRANT EXECUTE ON FUNCTION api_key_by_hash(bytea) TO coatcheck_api
-----
-- How many jobs of the lane, whoever owns them, have their turn up to and including this one; null unless it is ready.
-- A job's turn is not its own tag: priority orders the jobs of one tenant, the tenant's tags order the turns. Counts to `most`.
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
  )
  SELECT CASE
    WHEN NOT EXISTS (SELECT FROM mine) THEN NULL
    WHEN NOT EXISTS (SELECT FROM turn) THEN most
    ELSE least(most, 1 + (SELECT count(*) FROM (
      SELECT FROM ready r, mine m, turn t
      WHERE r.lane = m.lane AND r.model = m.model AND (r.tag, r.job_id) < (t.tag, t.job_id) LIMIT most) AS before))
  END::integer
$$;
-----
ALTER TABLE api_keys DROP COLUMN tokens_per_minute, DROP COLUMN max_in_flight, DROP COLUMN max_queued, DROP COLUMN budget_day_usd,
  DROP COLUMN budget_month_usd
-----
ALTER TABLE tenants DROP COLUMN requests_per_minute, DROP COLUMN tokens_per_minute, DROP COLUMN max_in_flight,
  DROP COLUMN max_queued, DROP COLUMN budget_day_usd, DROP COLUMN budget_month_usd
-----
DROP INDEX waiting_tenant_id_idx
-----
ALTER TABLE waiting DROP COLUMN key_id
-----
ALTER TABLE running DROP COLUMN key_id, DROP COLUMN concurrency_key
-----
ALTER TABLE ready DROP COLUMN key_id, DROP COLUMN concurrency_key
-----
-- Their checks go with the columns.
ALTER TABLE jobs DROP COLUMN route_model, DROP COLUMN key_id, DROP COLUMN concurrency_key, DROP COLUMN concurrency_limit
