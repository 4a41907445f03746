-- Locks concurrency keys, making those that are not there, in the order of the arrays: (tenant_id, key).
--   arrays: tenant_id, key, max_active, named_by (the job that names this limit)
-- The newest job has the say about the limit, however late an older one comes out of a pause.
INSERT INTO concurrency_keys AS k (tenant_id, key, max_active, named_by)
SELECT * FROM unnest(CAST(:tenant_id AS uuid[]), CAST(:key AS text[]), CAST(:max_active AS integer[]), CAST(:named_by AS uuid[]))
ON CONFLICT (tenant_id, key) DO UPDATE SET used_at = now(), named_by = greatest(k.named_by, excluded.named_by),
  max_active = CASE WHEN excluded.named_by > k.named_by THEN excluded.max_active ELSE k.max_active END
