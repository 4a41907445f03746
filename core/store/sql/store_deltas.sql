-- Stores chunks of streamed deltas, guarded by the lease number: a worker that lost its lease adds nothing to the stream.
--   arrays: id, lease_no, seq, last_seq, data (a JSON array of the deltas' data)
INSERT INTO job_events (job_id, seq, last_seq, tenant_id, type, data)
SELECT i.id, i.seq, i.last_seq, j.tenant_id, 'job.delta', i.data::json
FROM unnest(CAST(:id AS uuid[]), CAST(:lease_no AS integer[]), CAST(:seq AS integer[]), CAST(:last_seq AS integer[]),
  CAST(:data AS text[])) AS i (id, lease_no, seq, last_seq, data)
JOIN jobs j ON j.id = i.id AND j.status = 'running' AND j.lease_no = i.lease_no
ON CONFLICT DO NOTHING
