-- Locks the schedules whose time has come; who is being fired, run or changed by somebody else is passed over. The lock lets
-- foreign keys look: whoever ends a run holds its row, and must not wait for whoever is about to begin the next one.
--   now: instead of the database's clock, or null; most: how many at the most
SELECT s.id, s.tenant_id, s.key_id, s.kind, s.cron, s.timezone, s.template::text AS template, s.matrix::text AS matrix,
  s.budget::text AS budget, s.ttl_s, s.refresh_before_s, s.next_run_at, coalesce(CAST(:now AS timestamptz), now()) AS now
FROM schedules s
WHERE s.next_run_at <= coalesce(CAST(:now AS timestamptz), now())
ORDER BY s.next_run_at LIMIT :most FOR NO KEY UPDATE SKIP LOCKED
