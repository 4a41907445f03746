-- Takes the jobs that wait behind others for the same answer, out of those held back by a concurrency key.
--   id[]: jobs that succeeded in this transaction and may have followers
--   most: how many of each at most
-- Whoever cancels or expires a follower has its row locked and is left to it. The concurrency key alone proves nothing, because
-- callers choose keys freely: the cache keys have to be the same, and only the API writes these.
-- Returns the followers, locked, each with its leader, and whether it streams.
SELECT f.job_id AS id, l.id AS leader, f.stream
FROM jobs l CROSS JOIN LATERAL (
  SELECT h.job_id, j.stream FROM held_back h JOIN jobs j ON j.id = h.job_id
  WHERE h.tenant_id = l.tenant_id AND h.concurrency_key = l.concurrency_key AND j.status = 'queued'
    AND j.endpoint = l.endpoint AND j.cache_options #>> '{plan,key}' = l.cache_options #>> '{plan,key}'
  ORDER BY h.job_id LIMIT :most FOR UPDATE OF h SKIP LOCKED) f
WHERE l.id = ANY (CAST(:id AS uuid[])) AND l.status = 'succeeded' AND l.concurrency_key IS NOT NULL
-- By id: all commits touch rows in one order.
ORDER BY f.job_id
