-- Moves a run on from one combination to a later one, if nobody else has: the guard that makes each of its jobs once.
--   id, start (where it stands), upto, skipped_fresh, submitted, over_budget, reason (null: as it was), lease_s
-- Returns whether its group was cancelled; nothing where another worker was faster.
UPDATE schedule_runs r SET next_index = :upto, skipped_fresh = r.skipped_fresh + :skipped_fresh, submitted = r.submitted + :submitted,
  over_budget = r.over_budget + :over_budget, reason = coalesce(CAST(:reason AS text), r.reason),
  next_look_at = CASE WHEN :upto < r.planned THEN now() + make_interval(secs => :lease_s) END
WHERE r.id = :id AND r.next_index = :start AND r.status = 'running'
RETURNING coalesce((SELECT g.cancelled_at IS NOT NULL FROM groups g WHERE g.id = r.id), false) AS cancelled
