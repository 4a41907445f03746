-- Deletes concurrency keys without jobs that nobody used for a day. One that is wanted again is made anew, with the limit of that job.
--   most: how many at the most
-- Returns how many went.
WITH idle AS (
  SELECT k.tenant_id, k.key FROM concurrency_keys k
  WHERE k.used_at < now() - interval '1 day'
    AND NOT EXISTS (SELECT FROM held_back h WHERE h.tenant_id = k.tenant_id AND h.concurrency_key = k.key)
    AND NOT EXISTS (SELECT FROM ready r WHERE r.tenant_id = k.tenant_id AND r.concurrency_key = k.key)
    AND NOT EXISTS (SELECT FROM running r WHERE r.tenant_id = k.tenant_id AND r.concurrency_key = k.key)
  LIMIT :most FOR UPDATE SKIP LOCKED
),
gone AS (DELETE FROM concurrency_keys k USING idle i WHERE k.tenant_id = i.tenant_id AND k.key = i.key RETURNING k.key)
SELECT count(*) AS keys FROM gone
