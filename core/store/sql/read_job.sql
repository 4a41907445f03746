-- One job, with its place in the queue.
--   tenants, id, tenant_id, position (whether to count its place: that costs more than the rest)
-- include: _scope.sql
SELECT j.* FROM scope CROSS JOIN LATERAL (
  SELECT j.id, j.tenant_id, j.status, j.endpoint, j.model, j.lane, j.priority, j.created_at, j.run_at, j.started_at,
    j.finished_at, j.expires_at, j.attempts, j.max_attempts, j.result, j.error, j.usage, j.cost_usd, j.route, j.cache, j.timing,
    j.group_id, j.schedule_id, j.metadata, j.version, j.event_seq, j.webhook, j.stream, j.traceparent,
    CASE WHEN :position AND j.status = 'queued' THEN queue_position(j.id, 1000) END AS queue_position
  FROM jobs j WHERE scope.seen IS NOT NULL AND j.id = :id AND j.tenant_id = :tenant_id OFFSET 0) j
