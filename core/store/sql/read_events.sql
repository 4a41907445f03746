-- Stored events of a job after a number, oldest first. A row of deltas holds the numbers seq to last_seq.
--   id, tenant_id, after, most
SELECT e.seq, e.last_seq, e.type, e.data, e.created_at FROM job_events e
WHERE e.job_id = :id AND e.tenant_id = :tenant_id AND e.last_seq > :after ORDER BY e.seq LIMIT :most
