-- Fragment: adds the jobs of the CTE `cached` to the books of the hour, one row for each tenant, endpoint and model.
--   cached: (tenant_id uuid, endpoint text, model text, cache jsonb)      rows whose cache is null are passed over
-- In the order of the primary key and in eight slots, as in _account.sql, and for the same reasons.
-- unpriced: it was spared a call, and nobody knows what that would have cost.
cache_booked AS (
  INSERT INTO cache_hours AS h (tenant_id, hour, endpoint, model, slot, hits, semantic_hits, misses, coalesced, refreshed, unpriced,
    saved_tokens, saved_usd, saved_ms)
  SELECT c.tenant_id, date_trunc('hour', now(), 'UTC'), c.endpoint, c.model, pg_backend_pid() % 8,
    count(*) FILTER (WHERE c.cache ->> 'status' = 'hit'), count(*) FILTER (WHERE c.cache ->> 'status' = 'semantic_hit'),
    count(*) FILTER (WHERE c.cache ->> 'status' = 'miss'), count(*) FILTER (WHERE c.cache ->> 'status' = 'coalesced'),
    count(*) FILTER (WHERE c.cache ->> 'status' = 'refreshed'),
    count(*) FILTER (WHERE c.cache ? 'saved' AND c.cache #>> '{saved,usd}' IS NULL),
    coalesce(sum((c.cache #>> '{saved,tokens}')::bigint), 0), coalesce(sum((c.cache #>> '{saved,usd}')::numeric), 0),
    coalesce(sum((c.cache #>> '{saved,ms}')::double precision), 0)
  FROM cached c WHERE c.cache IS NOT NULL GROUP BY c.tenant_id, c.endpoint, c.model
  ORDER BY c.tenant_id, c.endpoint, c.model
  ON CONFLICT (tenant_id, hour, endpoint, model, slot) DO UPDATE SET hits = h.hits + excluded.hits,
    semantic_hits = h.semantic_hits + excluded.semantic_hits, misses = h.misses + excluded.misses,
    coalesced = h.coalesced + excluded.coalesced, refreshed = h.refreshed + excluded.refreshed,
    unpriced = h.unpriced + excluded.unpriced, saved_tokens = h.saved_tokens + excluded.saved_tokens,
    saved_usd = h.saved_usd + excluded.saved_usd, saved_ms = h.saved_ms + excluded.saved_ms
)
