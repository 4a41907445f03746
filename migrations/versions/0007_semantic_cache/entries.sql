-- Makes the table of vectors if this server can have it, and returns why not if it can't. Called by this migration, and by
-- `coatcheck migrate` every time: pgvector may be installed later. Takes no part in the cache itself: a vector leads to a key, and
-- the answer under that key lies in Redis.
CREATE FUNCTION make_semantic_entries() RETURNS text
LANGUAGE plpgsql SET search_path = public, pg_temp
AS $make$
DECLARE
  home text;
  version text;
BEGIN
  IF to_regclass('public.semantic_entries') IS NOT NULL THEN RETURN NULL; END IF;
  IF NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'vector') THEN
    IF NOT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'vector') THEN
      RETURN 'the server has no pgvector';
    END IF;
    BEGIN
      CREATE EXTENSION vector;
    EXCEPTION WHEN insufficient_privilege THEN
      RETURN 'the role ' || current_user || ' may not create the extension vector';
    END;
  END IF;
  SELECT n.nspname, e.extversion INTO home, version
  FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'vector';
  -- Only from 0.8 on an index scan goes on when a filter has taken away what it found.
  IF string_to_array(version, '.')::int[] < ARRAY[0, 8] THEN
    RETURN 'pgvector is ' || version || ', and 0.8 is needed';
  END IF;
  PERFORM set_config('search_path', format('public, %I, pg_temp', home), true);

  CREATE TABLE semantic_entries (
    tenant_id UUID NOT NULL,
    partition BYTEA NOT NULL,
    embedder TEXT NOT NULL,
    cache_key BYTEA NOT NULL,
    question TEXT NOT NULL,
    vector vector(256) NOT NULL,
    signature BYTEA,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT semantic_entries_pkey PRIMARY KEY (tenant_id, partition, embedder, cache_key)
  );
  -- Beside its row, where comparing a few hundred of them costs no look-ups of their own.
  ALTER TABLE semantic_entries ALTER COLUMN vector SET STORAGE PLAIN;
  ALTER TABLE semantic_entries SET (autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_scale_factor = 0.05,
    autovacuum_vacuum_insert_threshold = 2000, autovacuum_vacuum_insert_scale_factor = 0.05);
  CREATE INDEX semantic_entries_vector_idx ON semantic_entries USING hnsw (vector vector_cosine_ops);
  CREATE INDEX semantic_entries_signature_idx ON semantic_entries (signature) WHERE signature IS NOT NULL;
  CREATE INDEX semantic_entries_expires_at_idx ON semantic_entries (expires_at);
  CREATE INDEX semantic_entries_tenant_id_created_at_idx ON semantic_entries (tenant_id, created_at);
  GRANT SELECT, DELETE ON semantic_entries TO coatcheck_api;
  GRANT SELECT, INSERT, UPDATE, DELETE ON semantic_entries TO coatcheck_worker;
  ALTER TABLE semantic_entries ENABLE ROW LEVEL SECURITY;
  CREATE POLICY tenant_wall ON semantic_entries TO coatcheck_api USING (
    tenant_id = any ((SELECT string_to_array(nullif(current_setting('app.tenants', true), ''), ',')::uuid[])::uuid[]));
  CREATE POLICY worker_serves_all ON semantic_entries TO coatcheck_worker USING (true) WITH CHECK (true);

  -- The questions of one partition that may mean the same, nearest first: those with the same words, and those with the nearest
  -- vectors. The words find what an index of vectors loses: a question far from all others, of which it may see one in ten.
  -- As the owner: the filter of row security would come on top of ours in every step of the scan. A small partition is compared row
  -- by row, which is exact and quicker there; a large one goes by the vectors' index. The row comparison keeps the planner from
  -- taking the primary key for the latter, and the sum keeps it from taking the vectors' index for the former.
  EXECUTE format($near$
    CREATE FUNCTION semantic_near(tenant uuid, part bytea, made_by text, asked real[], words bytea, most integer)
    RETURNS TABLE (cache_key bytea, question text, similarity double precision)
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path = public, %I, pg_temp
    SET hnsw.iterative_scan = 'strict_order' SET hnsw.max_scan_tuples = 20000 SET hnsw.ef_search = 24
    SET enable_seqscan = off SET enable_sort = on
    AS $body$
    DECLARE
      wanted CONSTANT vector(256) := asked;
      -- Comparing n rows costs n; the index has to pass over others, N/n for each row of a partition of n among N. Measured, both cost
      -- the same at n = 2,300 among 100,000.
      exact CONSTANT integer := (SELECT greatest(1000, least(10000, sqrt(50 * greatest(c.reltuples, 0)))) FROM pg_class c
        WHERE c.oid = 'semantic_entries'::regclass);
    BEGIN
      IF (SELECT count(*) FROM (
          SELECT FROM semantic_entries e WHERE e.tenant_id = tenant AND e.partition = part AND e.embedder = made_by LIMIT exact
        ) few) < exact THEN
        RETURN QUERY SELECT e.cache_key, e.question, 1 - (e.vector <=> wanted) FROM semantic_entries e
          WHERE e.tenant_id = tenant AND e.partition = part AND e.embedder = made_by AND e.expires_at > now()
          ORDER BY (e.vector <=> wanted) + 0 LIMIT most;
      ELSE
        RETURN QUERY SELECT found.cache_key, found.question, max(found.similarity) FROM (
          (SELECT e.cache_key, e.question, 1 - (e.vector <=> wanted) AS similarity FROM semantic_entries e
           WHERE (e.tenant_id, e.partition, e.embedder) IS NOT DISTINCT FROM (tenant, part, made_by) AND e.expires_at > now()
           ORDER BY e.vector <=> wanted LIMIT most)
          UNION ALL
          (SELECT e.cache_key, e.question, 1 - (e.vector <=> wanted) FROM semantic_entries e
           WHERE e.signature = words AND e.tenant_id = tenant AND e.partition = part AND e.embedder = made_by
             AND e.expires_at > now()
           ORDER BY (e.vector <=> wanted) + 0 LIMIT most)
        ) found GROUP BY found.cache_key, found.question ORDER BY 3 DESC;
      END IF;
    END $body$
    $near$, home);
  REVOKE ALL ON FUNCTION semantic_near(uuid, bytea, text, real[], bytea, integer) FROM PUBLIC;
  GRANT EXECUTE ON FUNCTION semantic_near(uuid, bytea, text, real[], bytea, integer) TO coatcheck_api, coatcheck_worker;
  RETURN NULL;
END $make$
-----
REVOKE ALL ON FUNCTION make_semantic_entries() FROM PUBLIC
-----
SELECT make_semantic_entries()
