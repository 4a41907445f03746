-- Moves a tenant's last finish tags as reweigh_ready.sql moved the tags of its jobs.
--   tenant_id; ratio: the old weight over the new one
WITH mine AS MATERIALIZED (
  SELECT t.lane, t.finish_tag, c.virtual_time FROM tenant_turns t JOIN lane_clocks c ON c.lane = t.lane
  WHERE t.tenant_id = :tenant_id ORDER BY t.lane FOR UPDATE OF t
)
UPDATE tenant_turns t SET finish_tag = m.virtual_time + (m.finish_tag - m.virtual_time) * :ratio
FROM mine m WHERE t.tenant_id = :tenant_id AND t.lane = m.lane AND m.finish_tag > m.virtual_time
