-- Of the jobs named, those that a batch still holds, with their bodies.
--   id: the batch · job_id[], lease_no[]
SELECT j.id, j.tenant_id, j.endpoint, j.model, j.lane, j.stream, j.attempts, j.max_attempts, j.lease_no, j.event_seq, j.traceparent,
  j.webhook IS NOT NULL OR j.group_id IS NOT NULL AS tied, j.body,
  extract(epoch FROM j.started_at - greatest(j.created_at, j.run_at))::double precision * 1000 AS queued_ms,
  extract(epoch FROM now() - j.started_at)::double precision * 1000 AS running_ms
FROM unnest(CAST(:job_id AS uuid[]), CAST(:lease_no AS integer[])) AS i (job_id, lease_no)
JOIN running r ON r.job_id = i.job_id AND r.lease_no = i.lease_no AND r.process_id = :id
JOIN jobs j ON j.id = r.job_id AND j.status = 'running' AND j.lease_no = r.lease_no
