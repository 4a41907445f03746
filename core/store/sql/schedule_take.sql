-- Takes the run that has waited longest for somebody to look at it. Who takes it and dies has it looked at again after `lease_s`.
WITH due AS (
  SELECT id FROM schedule_runs WHERE next_look_at <= now() ORDER BY next_look_at LIMIT 1 FOR UPDATE SKIP LOCKED
)
UPDATE schedule_runs r SET next_look_at = now() + make_interval(secs => :lease_s)
FROM due, schedules s WHERE r.id = due.id AND s.id = r.schedule_id
RETURNING r.id, r.schedule_id, r.tenant_id, s.key_id, r.kind, r.planned, r.next_index, r.submitted, r.plan::text AS plan, r.ends_at,
  coalesce((SELECT g.cancelled_at IS NOT NULL FROM groups g WHERE g.id = r.id), false) AS cancelled
