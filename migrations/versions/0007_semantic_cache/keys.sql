-- What a key asks of caches where a job does not say: {mode, ttl_s, semantic, threshold}, as far as they are given.
ALTER TABLE api_keys ADD COLUMN cache JSONB
-----
DROP FUNCTION api_key_by_hash(bytea)
-----
-- The row behind an API key, by the hash of the key: the one look-up that comes before any tenant is known.
CREATE FUNCTION api_key_by_hash(hash bytea)
RETURNS TABLE (id uuid, tenant_id uuid, scopes text[], requests_per_minute integer, token_hash bytea, tokens_per_minute bigint,
  max_in_flight integer, max_queued integer, budget_day_usd numeric, budget_month_usd numeric,
  tenant_requests_per_minute integer, tenant_tokens_per_minute bigint, tenant_max_in_flight integer, tenant_max_queued integer,
  tenant_budget_day_usd numeric, tenant_budget_month_usd numeric, cache jsonb)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
AS $$ SELECT k.id, k.tenant_id, k.scopes, k.requests_per_minute, k.token_hash, k.tokens_per_minute, k.max_in_flight, k.max_queued,
        k.budget_day_usd, k.budget_month_usd, t.requests_per_minute, t.tokens_per_minute, t.max_in_flight, t.max_queued,
        t.budget_day_usd, t.budget_month_usd, k.cache
      FROM api_keys k JOIN tenants t ON t.id = k.tenant_id WHERE k.token_hash = hash AND k.revoked_at IS NULL $$
-----
REVOKE ALL ON FUNCTION api_key_by_hash(bytea) FROM PUBLIC
-----
GRANT EXECUTE ON FUNCTION api_key_by_hash(bytea) TO coatcheck_api
