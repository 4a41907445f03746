-- Moves the turns of a tenant's waiting jobs to where its new weight puts them: nearer or further from the present.
--   tenant_id; ratio: the old weight over the new one
WITH mine AS MATERIALIZED (
  SELECT r.job_id, r.tag, c.virtual_time FROM ready r JOIN lane_clocks c ON c.lane = r.lane
  WHERE r.tenant_id = :tenant_id ORDER BY r.job_id FOR UPDATE OF r
)
UPDATE ready r SET tag = m.virtual_time + (m.tag - m.virtual_time) * :ratio FROM mine m WHERE r.job_id = m.job_id AND m.tag > m.virtual_time
