-- Writes down that a schedule's time passes without a run, and why; nothing where that time has had its run.
--   id, schedule_id, tenant_id, kind, slot, trigger, missed, reason
INSERT INTO schedule_runs (id, schedule_id, tenant_id, kind, slot, trigger, status, reason, missed, finished_at)
VALUES (:id, :schedule_id, :tenant_id, :kind, :slot, :trigger, 'skipped', :reason, :missed, now())
ON CONFLICT DO NOTHING
RETURNING id
