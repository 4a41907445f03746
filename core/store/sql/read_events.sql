-- Stored events of a job after a number, oldest first. A row of deltas holds the numbers seq to last_seq.
--   tenants, id, tenant_id, after, most
-- include: _scope.sql
SELECT s.* FROM scope CROSS JOIN LATERAL (
  SELECT e.seq, e.last_seq, e.type, e.data, e.created_at FROM job_events e
  WHERE scope.seen IS NOT NULL AND e.job_id = :id AND e.tenant_id = :tenant_id AND e.last_seq > :after
  ORDER BY e.seq LIMIT :most) s ORDER BY s.seq
