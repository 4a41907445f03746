-- Jobs by id, without their bodies.
--   id[]
SELECT j.id, j.tenant_id, j.status, j.endpoint, j.model, j.lane, j.priority, j.created_at, j.run_at, j.started_at, j.finished_at,
  j.expires_at, j.attempts, j.max_attempts, j.result, j.error, j.usage, j.cost_usd, j.route, j.cache, j.timing, j.group_id,
  j.schedule_id, j.metadata, j.version, j.event_seq, j.webhook, j.stream, j.traceparent
FROM unnest(CAST(:id AS uuid[])) AS i (id) JOIN jobs j ON j.id = i.id
