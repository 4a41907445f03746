-- Deletes vectors whose answers are gone. The transaction has named its tenant.
--   tenant, partition, embedder, cache_key (array)
DELETE FROM semantic_entries
WHERE tenant_id = :tenant AND partition = :partition AND embedder = :embedder AND cache_key = ANY (CAST(:cache_key AS bytea[]))
