-- Locks the places of jobs in the queue before the jobs themselves, in the order in which a claim does.
--   id[]
WITH in_ready AS (SELECT job_id FROM ready WHERE job_id = ANY (CAST(:id AS uuid[])) ORDER BY job_id FOR UPDATE),
in_waiting AS (SELECT job_id FROM waiting WHERE job_id = ANY (CAST(:id AS uuid[])) ORDER BY job_id FOR UPDATE)
SELECT (SELECT count(*) FROM in_ready) + (SELECT count(*) FROM in_waiting) AS places
