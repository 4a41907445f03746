-- Closes a batch that holds no more jobs, and forgets those that were closed a week ago.
--   id, fence
-- Returns nothing when another worker has it, or when it still holds jobs.
WITH settled AS (
  UPDATE upstream_batches b SET state = 'settled', lease_until = NULL
  WHERE b.id = :id AND b.fence = :fence AND b.state = 'ended' AND NOT EXISTS (SELECT FROM running r WHERE r.process_id = b.id)
  RETURNING b.id
),
gone AS (DELETE FROM processes p USING settled s WHERE p.id = s.id),
old AS (DELETE FROM upstream_batches WHERE state = 'settled' AND ended_at < now() - interval '7 days')
SELECT id FROM settled
