-- Roles are shared by all databases of a server, so they may be there already.
DO $$
DECLARE
  role text;
BEGIN
  FOREACH role IN ARRAY ARRAY['coatcheck_api', 'coatcheck_worker'] LOOP
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
      BEGIN
        EXECUTE format('CREATE ROLE %I NOLOGIN', role);
      EXCEPTION
        WHEN duplicate_object OR unique_violation THEN NULL;
        WHEN insufficient_privilege THEN
          RAISE EXCEPTION 'the role % may not create roles', current_user
            USING HINT = format('As a superuser run: CREATE ROLE %I NOLOGIN; GRANT %I TO %I;', role, role, current_user);
      END;
    END IF;
    -- From Postgres 16 on, whoever makes a role may grant it but not act as it. One that somebody else granted us stays as it is.
    IF NOT pg_has_role(current_user, role, CASE WHEN current_setting('server_version_num')::int < 160000 THEN 'MEMBER' ELSE 'SET' END) THEN
      EXECUTE format('GRANT %I TO CURRENT_USER', role);
    END IF;
  END LOOP;
END $$;
-----
GRANT USAGE ON SCHEMA public TO coatcheck_api, coatcheck_worker;
-----
GRANT SELECT, INSERT, UPDATE, DELETE ON
  jobs, attempts, job_events, groups, idempotency_keys, ready, waiting, running, lane_clocks, tenant_turns, processes,
  webhook_endpoints, webhook_events, webhook_deliveries
TO coatcheck_api, coatcheck_worker;
-----
GRANT SELECT ON tenants TO coatcheck_api, coatcheck_worker;
-----
REVOKE ALL ON FUNCTION keep_partitions(integer), drop_partitions(timestamptz), api_key_by_hash(bytea),
  queue_position(uuid, integer), queue_depths() FROM PUBLIC;
-----
GRANT EXECUTE ON FUNCTION keep_partitions(integer), drop_partitions(timestamptz), queue_depths() TO coatcheck_worker;
-----
GRANT EXECUTE ON FUNCTION api_key_by_hash(bytea), queue_position(uuid, integer), queue_depths() TO coatcheck_api;
-----
-- A transaction sees the tenants it named. The inner SELECT makes the list a one-time plan instead of a parse per row; a
-- connection that was used before returns '' and not NULL for a setting nobody made.
DO $$
DECLARE
  name text;
  owner text;
BEGIN
  FOREACH name IN ARRAY ARRAY['tenants', 'jobs', 'attempts', 'job_events', 'groups', 'idempotency_keys', 'ready', 'waiting',
                              'running', 'webhook_endpoints', 'webhook_events', 'webhook_deliveries'] LOOP
    owner := CASE name WHEN 'tenants' THEN 'id' ELSE 'tenant_id' END;
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format($policy$
      CREATE POLICY tenant_wall ON %I TO coatcheck_api USING (
        %I = any ((SELECT string_to_array(nullif(current_setting('app.tenants', true), ''), ',')::uuid[])::uuid[]))
      $policy$, name, owner);
    EXECUTE format('CREATE POLICY worker_serves_all ON %I TO coatcheck_worker USING (true) WITH CHECK (true)', name);
  END LOOP;
END $$;
-----
-- Nobody but the owner reads keys; look-ups go through api_key_by_hash.
ALTER TABLE api_keys ENABLE ROW LEVEL SECURITY;
-----
INSERT INTO lane_clocks (lane) VALUES ('interactive'), ('default'), ('bulk'), ('prewarm');
