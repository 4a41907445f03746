-- Writes down what a learned run has chosen, with the group of its jobs: once, so that whoever works on the run later goes on with that.
--   id, planned (how many entries), over_budget, plan, choices, reason (or null), lease_s
-- Returns its id; nothing where another worker was faster, or the run is gone.
WITH run AS (
  UPDATE schedule_runs SET planned = :planned, over_budget = :over_budget, plan = CAST(:plan AS json), choices = CAST(:choices AS json),
    reason = :reason, next_look_at = now() + make_interval(secs => :lease_s)
  WHERE id = :id AND status = 'running' AND choices IS NULL
  RETURNING id, tenant_id, planned
),
opened AS (
  INSERT INTO groups (id, tenant_id, total, remaining) SELECT id, tenant_id, planned, planned FROM run WHERE planned > 0
)
SELECT id FROM run
