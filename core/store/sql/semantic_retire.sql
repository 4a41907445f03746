-- Deletes vectors that have run out, and the oldest of tenants that have too many; a tenant's excess is counted here, now and then,
-- and not with every insert.
--   cap (a tenant keeps so many), most
WITH crowded AS MATERIALIZED (
  SELECT tenant_id, count(*) - :cap AS excess FROM semantic_entries GROUP BY tenant_id HAVING count(*) > :cap
)
DELETE FROM semantic_entries WHERE ctid = ANY (ARRAY(
  (SELECT e.ctid FROM semantic_entries e WHERE e.expires_at < now() ORDER BY e.expires_at LIMIT :most)
  UNION
  (SELECT o.ctid FROM crowded c CROSS JOIN LATERAL (
    SELECT e.ctid FROM semantic_entries e WHERE e.tenant_id = c.tenant_id ORDER BY e.created_at LIMIT least(c.excess, :most)) o
   LIMIT :most)))
