-- What caches did for the jobs of an hour (UTC). Readers sum over slots, which only keep writers from queueing up.
CREATE TABLE cache_hours (
  tenant_id UUID NOT NULL,
  hour TIMESTAMP WITH TIME ZONE NOT NULL,
  endpoint TEXT NOT NULL,
  model TEXT NOT NULL,
  slot SMALLINT DEFAULT 0 NOT NULL,
  hits BIGINT DEFAULT 0 NOT NULL,
  misses BIGINT DEFAULT 0 NOT NULL,
  coalesced BIGINT DEFAULT 0 NOT NULL,
  refreshed BIGINT DEFAULT 0 NOT NULL,
  saved_tokens BIGINT DEFAULT 0 NOT NULL,
  saved_usd NUMERIC DEFAULT 0 NOT NULL,
  saved_ms DOUBLE PRECISION DEFAULT 0 NOT NULL,
  CONSTRAINT cache_hours_pkey PRIMARY KEY (tenant_id, hour, endpoint, model, slot)
)
-----
-- A row is updated many times within its hour: free room on its page keeps the new version there.
ALTER TABLE cache_hours SET (fillfactor = 50, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_scale_factor = 0.05)
-----
GRANT SELECT, INSERT, UPDATE ON cache_hours TO coatcheck_api
-----
GRANT SELECT, INSERT, UPDATE, DELETE ON cache_hours TO coatcheck_worker
-----
-- The API ends jobs too now, those that a cache answers: they belong into the books of the day.
GRANT INSERT, UPDATE ON usage_days TO coatcheck_api
-----
ALTER TABLE cache_hours ENABLE ROW LEVEL SECURITY
-----
CREATE POLICY tenant_wall ON cache_hours TO coatcheck_api USING (
  tenant_id = any ((SELECT string_to_array(nullif(current_setting('app.tenants', true), ''), ',')::uuid[])::uuid[]))
-----
CREATE POLICY worker_serves_all ON cache_hours TO coatcheck_worker USING (true) WITH CHECK (true)
