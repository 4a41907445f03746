-- Of a learned prewarm: what the run chose and why, the most valuable first; null until it has chosen. plan, beside it, leaves with the
-- end of the run; this stays.
ALTER TABLE schedule_runs ADD COLUMN choices JSON
-----
-- Jobs are listed by their schedule. Those that no schedule made, which is nearly all of them, cost this index nothing.
CREATE INDEX jobs_schedule_id_id_idx ON jobs (schedule_id, id) WHERE schedule_id IS NOT NULL
