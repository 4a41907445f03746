GRANT SELECT, INSERT, UPDATE, DELETE ON concurrency_keys, held_back TO coatcheck_api, coatcheck_worker
-----
GRANT SELECT ON usage_days TO coatcheck_api
-----
GRANT SELECT, INSERT, UPDATE ON usage_days TO coatcheck_worker
-----
REVOKE ALL ON FUNCTION api_key_by_hash(bytea), limits_of_keys(uuid[]) FROM PUBLIC
-----
GRANT EXECUTE ON FUNCTION api_key_by_hash(bytea) TO coatcheck_api
-----
GRANT EXECUTE ON FUNCTION limits_of_keys(uuid[]) TO coatcheck_worker
-----
DO $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['concurrency_keys', 'held_back', 'usage_days'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format($policy$
      CREATE POLICY tenant_wall ON %I TO coatcheck_api USING (
        tenant_id = any ((SELECT string_to_array(nullif(current_setting('app.tenants', true), ''), ',')::uuid[])::uuid[]))
      $policy$, name);
    EXECUTE format('CREATE POLICY worker_serves_all ON %I TO coatcheck_worker USING (true) WITH CHECK (true)', name);
  END LOOP;
END $$
