-- How far the awaited jobs are: one statement for everybody who waits in this process.
--   tenants, id[]
-- include: _scope.sql
SELECT s.* FROM scope CROSS JOIN LATERAL (
  SELECT j.id, j.version, j.status,
    coalesce((SELECT e.last_seq FROM job_events e WHERE e.job_id = j.id ORDER BY e.seq DESC LIMIT 1), 1) AS tail
  FROM unnest(CAST(:id AS uuid[])) AS i (id) JOIN jobs j ON j.id = i.id WHERE scope.seen IS NOT NULL OFFSET 0) s
