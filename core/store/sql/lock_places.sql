-- Locks the places of jobs in the queue before the jobs themselves, in the order in which a claim does.
--   id[]
-- Returns the jobs whose place is locked.
WITH in_ready AS (SELECT job_id FROM ready WHERE job_id = ANY (CAST(:id AS uuid[])) ORDER BY job_id FOR UPDATE),
in_waiting AS (SELECT job_id FROM waiting WHERE job_id = ANY (CAST(:id AS uuid[])) ORDER BY job_id FOR UPDATE),
in_held_back AS (SELECT job_id FROM held_back WHERE job_id = ANY (CAST(:id AS uuid[])) ORDER BY job_id FOR UPDATE)
SELECT job_id FROM in_ready UNION ALL SELECT job_id FROM in_waiting UNION ALL SELECT job_id FROM in_held_back
