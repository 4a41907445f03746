-- Fragment: the columns of a job in a batch, of `jobs j`: those of a claimed job, and how long it has waited and been away.
-- Who follows it with the body says which.
  j.id, j.tenant_id, j.key_id, j.endpoint, j.model, coalesce(j.route_model, j.model) AS route_model, j.lane, j.stream, j.attempts,
  j.max_attempts, j.lease_no, j.timeout_s, j.created_at, j.run_at, j.started_at, j.event_seq, j.request_id, j.traceparent, j.route,
  j.cache_options, j.schedule_id, CASE WHEN j.cache_options IS NOT NULL THEN j.metadata END AS metadata, 0 AS body_bytes,
  j.webhook IS NOT NULL OR j.group_id IS NOT NULL OR j.concurrency_key IS NOT NULL AS tied,
  extract(epoch FROM j.started_at - greatest(j.created_at, j.run_at))::double precision * 1000 AS queued_ms,
  extract(epoch FROM now() - j.started_at)::double precision * 1000 AS running_ms
