-- The smallest UUIDv7 of a moment's millisecond: the bound of a partition.
CREATE FUNCTION uuid7_floor(moment timestamptz) RETURNS uuid
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog
RETURN (lpad(to_hex((extract(epoch FROM moment) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid;
-----
-- Makes the weekly partitions from this week to `ahead` weeks from now. Safe to call at any time, by anybody at once.
-- The owner's rights are needed to create tables; the worker role may only call this.
CREATE FUNCTION keep_partitions(ahead integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
  parent text;
  monday timestamptz;
  made integer := 0;
  partition text;
  key text;
  low uuid;
  high uuid;
  astray boolean;
BEGIN
  PERFORM pg_advisory_xact_lock(4270197019);
  FOR week IN 0..ahead LOOP
    monday := date_trunc('week', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' + make_interval(weeks => week);
    low := uuid7_floor(monday);
    high := uuid7_floor(monday + interval '1 week');
    FOREACH parent IN ARRAY ARRAY['jobs', 'attempts', 'job_events'] LOOP
      partition := format('%s_%s', parent, to_char(monday AT TIME ZONE 'UTC', 'IYYY"w"IW'));
      CONTINUE WHEN to_regclass(quote_ident(partition)) IS NOT NULL;
      key := CASE parent WHEN 'jobs' THEN 'id' ELSE 'job_id' END;
      EXECUTE format('SELECT EXISTS (SELECT FROM %I WHERE %I >= $1 AND %I < $2)', parent || '_default', key, key)
        INTO astray USING low, high;
      IF astray THEN
        -- The week began without its partition, because nobody made weeks for a month: its rows move over. The lock makes
        -- everybody wait who wants them; without it a finish would find its row deleted and take its lease for lost.
        EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', parent);
        EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', partition, parent);
        EXECUTE format('WITH moved AS (DELETE FROM %I WHERE %I >= $1 AND %I < $2 RETURNING *) INSERT INTO %I SELECT * FROM moved',
          parent || '_default', key, key, partition) USING low, high;
        EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, partition, low, high);
      ELSE
        EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)', partition, parent, low, high);
      END IF;
      -- Room on each page lets the claim and the finish of a job stay on it (heap-only tuples, no index work).
      EXECUTE format('ALTER TABLE %I SET (fillfactor = %s)', partition, CASE parent WHEN 'jobs' THEN 60 ELSE 100 END);
      made := made + 1;
    END LOOP;
  END LOOP;
  RETURN made;
END $$;
-----
-- Drops the weeks that ended before `before` and hold nothing that still runs, waits, or finished later than that.
-- Returns the names of the dropped weeks of jobs.
CREATE FUNCTION drop_partitions(before timestamptz) RETURNS SETOF text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
  week text;
  busy boolean;
  parent text;
BEGIN
  PERFORM pg_advisory_xact_lock(4270197019);
  PERFORM set_config('lock_timeout', '2s', true);
  FOR week IN
    SELECT substr(c.relname, 6) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'jobs'::regclass AND c.relname ~ '^jobs_\d{4}w\d{2}$'
      AND to_timestamp(substr(c.relname, 6), 'IYYY"w"IW') AT TIME ZONE 'UTC' < (before - interval '8 days') AT TIME ZONE 'UTC'
    ORDER BY 1
  LOOP
    EXECUTE format('SELECT EXISTS (SELECT FROM %I WHERE finished_at IS NULL OR finished_at > $1)', 'jobs_' || week)
      INTO busy USING before;
    CONTINUE WHEN busy;
    FOREACH parent IN ARRAY ARRAY['job_events', 'attempts', 'jobs'] LOOP
      EXECUTE format('DROP TABLE IF EXISTS %I', parent || '_' || week);
    END LOOP;
    RETURN NEXT week;
  END LOOP;
END $$;
-----
SELECT keep_partitions(1);
-----
-- The row behind an API key, by the hash of the key: the one look-up that comes before any tenant is known.
CREATE FUNCTION api_key_by_hash(hash bytea)
RETURNS TABLE (id uuid, tenant_id uuid, scopes text[], requests_per_minute integer, token_hash bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
AS $$ SELECT k.id, k.tenant_id, k.scopes, k.requests_per_minute, k.token_hash
      FROM api_keys k WHERE k.token_hash = hash AND k.revoked_at IS NULL $$;
-----
-- How many jobs of the lane, whoever owns them, have their turn up to and including this one; null unless it is ready.
-- A job's turn is not its own tag: priority orders the jobs of one tenant, the tenant's tags order the turns. Counts to `most`.
CREATE FUNCTION queue_position(job uuid, most integer) RETURNS integer
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
-- Depth and age of each lane, for everybody's metrics page: numbers only, of all tenants together.
CREATE FUNCTION queue_depths() RETURNS TABLE (lane text, depth bigint, oldest_s double precision)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT r.lane, count(*), extract(epoch FROM now() - min(r.entered_at))::double precision FROM ready r GROUP BY r.lane
$$;
