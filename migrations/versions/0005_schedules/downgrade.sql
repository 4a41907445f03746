-- Jobs that schedules made stay; the groups of runs that were still being expanded end with what they have.
UPDATE groups g SET total = g.total - (r.planned - r.next_index), remaining = g.remaining - (r.planned - r.next_index),
  finished_at = CASE WHEN g.remaining = r.planned - r.next_index THEN now() END
FROM schedule_runs r WHERE r.id = g.id AND r.status = 'running' AND r.next_index < r.planned
-----
DROP TABLE schedule_runs, schedules
