-- Takes idempotency keys for new objects; a key older than a day is free again.
--   arrays sorted by (tenant_id, key): tenant_id, key, fingerprint, object_id
-- Returns the keys that were free; the others belong to an earlier object.
INSERT INTO idempotency_keys AS k (tenant_id, key, fingerprint, object_id)
SELECT * FROM unnest(CAST(:tenant_id AS uuid[]), CAST(:key AS text[]), CAST(:fingerprint AS bytea[]), CAST(:object_id AS uuid[]))
ON CONFLICT (tenant_id, key) DO UPDATE
  SET fingerprint = excluded.fingerprint, object_id = excluded.object_id, created_at = now()
  WHERE k.created_at < now() - interval '24 hours'
RETURNING tenant_id, key
