DROP TABLE webhook_deliveries, webhook_events, webhook_endpoints, idempotency_keys, job_events, attempts, processes,
  tenant_turns, lane_clocks, running, waiting, ready, jobs, groups, api_keys, tenants;
-----
DROP FUNCTION queue_depths(), queue_position(uuid, integer), api_key_by_hash(bytea), drop_partitions(timestamptz),
  keep_partitions(integer), uuid7_floor(timestamptz);
-----
REVOKE USAGE ON SCHEMA public FROM coatcheck_api, coatcheck_worker;
-----
-- Roles belong to the server, and another database of it may still use them.
DO $$
BEGIN
  DROP ROLE coatcheck_api, coatcheck_worker;
EXCEPTION WHEN dependent_objects_still_exist OR insufficient_privilege OR object_in_use THEN NULL;
END $$;
