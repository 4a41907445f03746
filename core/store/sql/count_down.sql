-- Counts ended jobs off their groups.
--   arrays: group_id, ended (how many)
-- Returns the groups whose last job this was: exactly one commit sees each.
WITH input AS (SELECT * FROM unnest(CAST(:group_id AS uuid[]), CAST(:ended AS integer[])) AS t (group_id, ended)),
locked AS MATERIALIZED (
  SELECT g.id FROM input i JOIN groups g ON g.id = i.group_id ORDER BY g.id FOR UPDATE OF g
),
counted AS (
  UPDATE groups g SET remaining = g.remaining - i.ended, finished_at = CASE WHEN g.remaining = i.ended THEN now() END
  FROM input i JOIN locked l ON l.id = i.group_id WHERE g.id = i.group_id
  RETURNING g.id, g.tenant_id, g.remaining
)
SELECT id, tenant_id FROM counted WHERE remaining = 0
