-- What idempotency keys stand for.
SELECT k.tenant_id, k.key, k.fingerprint, k.object_id
FROM idempotency_keys k
JOIN unnest(CAST(:tenant_id AS uuid[]), CAST(:key AS text[])) AS i (tenant_id, key) USING (tenant_id, key)
