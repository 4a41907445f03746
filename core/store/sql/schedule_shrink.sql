-- Takes jobs off a run's group that will never be made. Returns the group when it is complete by that.
--   id, dropped (how many)
WITH shrunk AS (
  UPDATE groups g SET total = g.total - :dropped, remaining = g.remaining - :dropped,
    finished_at = CASE WHEN g.remaining = :dropped THEN now() END
  WHERE g.id = :id
  RETURNING g.id, g.remaining
)
SELECT id FROM shrunk WHERE remaining = 0
