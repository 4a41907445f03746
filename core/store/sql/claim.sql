-- Claims the next jobs of one lane: the fair ones between tenants, the urgent ones within each tenant.
--   lane, process_id, most                 the lane, who claims, how many jobs at most
--   model[], room[], deployment[]          models with free slots, how many each has (never above most), what will serve it
--   bytes                                  how much the bodies may weigh together (one job is always allowed)
-- A ready row is two things: a turn of its tenant (the tag) and a job with a priority. The turns with the lowest tags are
-- taken; each tenant spends its turns on its most urgent jobs. A job that waits on although its own turn was spent inherits a
-- turn of one that was served early, so a tenant gains nothing by priorities.
-- Returns the claimed jobs, now running under a new lease number. Expired jobs stay for the sweep.
WITH wanted AS (
  SELECT * FROM unnest(CAST(:model AS text[]), CAST(:room AS integer[]), CAST(:deployment AS text[])) AS w (model, room, deployment)
),
turns AS MATERIALIZED (
  SELECT t.job_id, t.tenant_id, t.model, t.tag
  FROM wanted w CROSS JOIN LATERAL (
    SELECT r.job_id, r.tenant_id, r.model, r.tag FROM ready r
    WHERE r.lane = :lane AND r.model = w.model AND (r.expires_at IS NULL OR r.expires_at > now())
    ORDER BY r.tag, r.job_id LIMIT w.room FOR UPDATE SKIP LOCKED) t
  ORDER BY t.tag, t.job_id LIMIT :most
),
-- include: _serve_turns.sql
