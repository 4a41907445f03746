-- Keeps vectors; one that is there already lives on.
--   arrays: tenant_id, partition, embedder, cache_key, question, vector (as text), signature, ttl_s; no key twice
-- Sorted like the primary key, so that writers meet each other's rows in one order.
INSERT INTO semantic_entries AS e (tenant_id, partition, embedder, cache_key, question, vector, signature, expires_at)
SELECT t.tenant_id, t.partition, t.embedder, t.cache_key, t.question, t.vector::vector(256), t.signature,
  now() + make_interval(secs => t.ttl_s)
FROM unnest(CAST(:tenant_id AS uuid[]), CAST(:partition AS bytea[]), CAST(:embedder AS text[]), CAST(:cache_key AS bytea[]),
  CAST(:question AS text[]), CAST(:vector AS text[]), CAST(:signature AS bytea[]),
  CAST(:ttl_s AS double precision[]))
  AS t (tenant_id, partition, embedder, cache_key, question, vector, signature, ttl_s)
ORDER BY t.tenant_id, t.partition, t.embedder, t.cache_key
ON CONFLICT (tenant_id, partition, embedder, cache_key) DO UPDATE
SET created_at = now(), expires_at = excluded.expires_at, vector = excluded.vector,
  signature = excluded.signature
