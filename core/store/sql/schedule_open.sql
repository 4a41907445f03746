-- Begins a run, unless the schedule has had one for this time, or one of its runs goes on; with the group of its jobs.
--   id, schedule_id, tenant_id, kind, slot, trigger, missed, planned (0 for a window of keep_warm), plan, ends_at (of a window)
-- Returns the run's id, or nothing.
WITH run AS (
  INSERT INTO schedule_runs (id, schedule_id, tenant_id, kind, slot, trigger, status, missed, planned, plan, next_look_at, ends_at)
  VALUES (:id, :schedule_id, :tenant_id, :kind, :slot, :trigger, 'running', :missed, :planned, CAST(:plan AS json),
    coalesce(CAST(:ends_at AS timestamptz), now()), :ends_at)
  ON CONFLICT DO NOTHING
  RETURNING id, tenant_id, planned
),
opened AS (
  INSERT INTO groups (id, tenant_id, total, remaining) SELECT id, tenant_id, planned, planned FROM run WHERE planned > 0
)
SELECT id FROM run
