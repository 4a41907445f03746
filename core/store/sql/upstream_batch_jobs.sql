-- The jobs that a batch still holds, a page at a time; cancelled ones are no longer among them.
--   id: the batch · after: the last job of the page before · most
-- body is null unless with_body.
SELECT j.id, j.tenant_id, j.endpoint, j.model, j.lane, j.stream, j.attempts, j.max_attempts, j.lease_no, j.event_seq, j.traceparent,
  j.webhook IS NOT NULL OR j.group_id IS NOT NULL AS tied,
  CASE WHEN CAST(:with_body AS boolean) THEN j.body END AS body,
  extract(epoch FROM j.started_at - greatest(j.created_at, j.run_at))::double precision * 1000 AS queued_ms,
  extract(epoch FROM now() - j.started_at)::double precision * 1000 AS running_ms
FROM running r JOIN jobs j ON j.id = r.job_id AND j.status = 'running' AND j.lease_no = r.lease_no
WHERE r.process_id = :id AND r.job_id > CAST(:after AS uuid)
ORDER BY r.job_id LIMIT :most
