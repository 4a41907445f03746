-- What a tenant and one of its keys have queued, running and spent: what limits start from.
--   tenants (the one, as text), tenant_id, key_id (null: no key), most (count each model's queue to so many; 0: count no jobs),
--   month_began (the first of the month), day
-- include: _scope.sql
SELECT s.*, m.*
FROM scope CROSS JOIN LATERAL (
  SELECT coalesce(sum(u.cost_usd), 0) AS tenant_month,
    coalesce(sum(u.cost_usd) FILTER (WHERE u.day = CAST(:day AS date)), 0) AS tenant_day,
    coalesce(sum(u.cost_usd) FILTER (WHERE u.key_id = CAST(:key_id AS uuid)), 0) AS key_month,
    coalesce(sum(u.cost_usd) FILTER (WHERE u.key_id = CAST(:key_id AS uuid) AND u.day = CAST(:day AS date)), 0) AS key_day
  FROM usage_days u
  WHERE scope.seen IS NOT NULL AND u.tenant_id = CAST(:tenant_id AS uuid) AND u.day >= CAST(:month_began AS date)) m
LEFT JOIN LATERAL standing(CAST(:tenant_id AS uuid), CAST(:key_id AS uuid), CAST(:most AS integer)) s ON :most > 0
