-- Deletes an ended job and all that tells of it.
--   id[]
-- Returns the ids that were deleted.
WITH gone AS (
  DELETE FROM jobs WHERE id = ANY (CAST(:id AS uuid[])) AND finished_at IS NOT NULL RETURNING id
),
attempt AS (DELETE FROM attempts a USING gone g WHERE a.job_id = g.id),
event AS (DELETE FROM job_events e USING gone g WHERE e.job_id = g.id),
push AS (DELETE FROM webhook_events w USING gone g WHERE w.job_id = g.id)
SELECT id FROM gone
