DROP INDEX jobs_schedule_id_id_idx
-----
-- Learned schedules mean nothing to the code from before: they go, and with them their runs. The groups of runs that were still being
-- expanded end with what they have.
UPDATE groups g SET total = g.total - (r.planned - r.next_index), remaining = g.remaining - (r.planned - r.next_index),
  finished_at = CASE WHEN g.remaining = r.planned - r.next_index THEN now() END
FROM schedule_runs r JOIN schedules s ON s.id = r.schedule_id
WHERE r.id = g.id AND r.status = 'running' AND r.next_index < r.planned AND s.matrix::text = '"learned"'
-----
DELETE FROM schedules WHERE matrix::text = '"learned"'
-----
ALTER TABLE schedule_runs DROP COLUMN choices
