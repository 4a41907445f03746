-- Deletes a small batch of jobs whose retention is over, with all that tells of them.
--   before: what finished earlier than this is over; most: how many at the most
-- Returns how many went.
WITH old AS (
  SELECT j.id FROM jobs j WHERE j.id < uuid7_floor(CAST(:before AS timestamptz)) AND j.finished_at < CAST(:before AS timestamptz)
  ORDER BY j.id LIMIT :most FOR UPDATE SKIP LOCKED
),
gone AS (DELETE FROM jobs j USING old o WHERE j.id = o.id RETURNING j.id),
attempt AS (DELETE FROM attempts a USING gone g WHERE a.job_id = g.id),
event AS (DELETE FROM job_events e USING gone g WHERE e.job_id = g.id),
push AS (DELETE FROM webhook_events w USING gone g WHERE w.job_id = g.id)
SELECT count(*) AS jobs FROM gone
