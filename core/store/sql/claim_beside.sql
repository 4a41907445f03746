-- Claims as claim.sql does, but passes over tenants that hold their full share of the lane's slots already.
--   the parameters of claim.sql, and full[]: the tenants to pass over
-- It walks the tenants with turns ahead of the lane's clock instead of the lane, so that a passed-over tenant's hundred
-- thousand waiting jobs cost nothing.
WITH wanted AS (
  SELECT * FROM unnest(CAST(:model AS text[]), CAST(:room AS integer[]), CAST(:deployment AS text[])) AS w (model, room, deployment)
),
turns AS MATERIALIZED (
  SELECT t.job_id, t.tenant_id, t.model, t.tag
  FROM tenant_turns o
  CROSS JOIN wanted w CROSS JOIN LATERAL (
    SELECT r.job_id, r.tenant_id, r.model, r.tag FROM ready r
    WHERE r.lane = :lane AND r.model = w.model AND r.tenant_id = o.tenant_id AND (r.expires_at IS NULL OR r.expires_at > now())
    ORDER BY r.priority DESC, r.job_id LIMIT w.room FOR UPDATE SKIP LOCKED) t
  WHERE o.lane = :lane AND o.tenant_id <> ALL (CAST(:full AS uuid[]))
  ORDER BY t.tag, t.job_id LIMIT :most
),
-- include: _serve_turns.sql
