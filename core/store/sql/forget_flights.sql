-- Deletes those of some concurrency keys, locked in this transaction, that have no job any more.
--   arrays: tenant_id, key
DELETE FROM concurrency_keys k
USING unnest(CAST(:tenant_id AS uuid[]), CAST(:key AS text[])) AS i (tenant_id, key)
WHERE k.tenant_id = i.tenant_id AND k.key = i.key
  AND NOT EXISTS (SELECT FROM held_back h WHERE h.tenant_id = k.tenant_id AND h.concurrency_key = k.key)
  AND NOT EXISTS (SELECT FROM ready r WHERE r.tenant_id = k.tenant_id AND r.concurrency_key = k.key)
  AND NOT EXISTS (SELECT FROM running r WHERE r.tenant_id = k.tenant_id AND r.concurrency_key = k.key)
