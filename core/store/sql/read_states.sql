-- How far the awaited jobs are: one statement for everybody who waits in this process.
--   id[]
SELECT j.id, j.version, j.status,
  coalesce((SELECT e.last_seq FROM job_events e WHERE e.job_id = j.id ORDER BY e.seq DESC LIMIT 1), 1) AS tail
FROM unnest(CAST(:id AS uuid[])) AS i (id) JOIN jobs j ON j.id = i.id
