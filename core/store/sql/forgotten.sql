-- Finds concurrency keys with jobs held back and room for them, by hopping from key to key in the index.
--   most: how many at the most
-- Returns a job of each, for lock_keys.sql.
WITH RECURSIVE hops AS (
  (SELECT h.tenant_id, h.concurrency_key, h.job_id FROM held_back h ORDER BY h.tenant_id, h.concurrency_key LIMIT 1)
  UNION ALL
  SELECT n.tenant_id, n.concurrency_key, n.job_id FROM hops p CROSS JOIN LATERAL (
    SELECT h.tenant_id, h.concurrency_key, h.job_id FROM held_back h
    WHERE (h.tenant_id, h.concurrency_key) > (p.tenant_id, p.concurrency_key) ORDER BY h.tenant_id, h.concurrency_key LIMIT 1) n
)
SELECT j.id, j.tenant_id, j.concurrency_key, j.concurrency_limit FROM hops p JOIN jobs j ON j.id = p.job_id
LEFT JOIN concurrency_keys k ON k.tenant_id = p.tenant_id AND k.key = p.concurrency_key
WHERE coalesce(k.max_active, j.concurrency_limit)
  > (SELECT count(*) FROM ready r WHERE r.tenant_id = p.tenant_id AND r.concurrency_key = p.concurrency_key)
  + (SELECT count(*) FROM running r WHERE r.tenant_id = p.tenant_id AND r.concurrency_key = p.concurrency_key)
LIMIT :most
