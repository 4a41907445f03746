-- Deletes what shadow mode recorded too long ago, and the oldest records of tenants that have too many.
--   before, cap (a tenant keeps so many), most
WITH crowded AS MATERIALIZED (
  SELECT tenant_id, count(*) - :cap AS excess FROM semantic_shadow GROUP BY tenant_id HAVING count(*) > :cap
)
DELETE FROM semantic_shadow WHERE id = ANY (ARRAY(
  (SELECT s.id FROM semantic_shadow s WHERE s.id < uuid7_floor(CAST(:before AS timestamptz)) ORDER BY s.id LIMIT :most)
  UNION
  (SELECT o.id FROM crowded c CROSS JOIN LATERAL (
    SELECT s.id FROM semantic_shadow s WHERE s.tenant_id = c.tenant_id ORDER BY s.id LIMIT least(c.excess, :most)) o
   LIMIT :most)))
