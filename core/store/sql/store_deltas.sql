-- Stores chunks of streamed deltas, and resets between them, guarded by the lease number: a worker that lost its lease adds nothing to the stream.
--   arrays: id, lease_no, seq, last_seq, data (of job.delta a JSON array of the deltas' data), type
INSERT INTO job_events (job_id, seq, last_seq, tenant_id, type, data)
SELECT i.id, i.seq, i.last_seq, j.tenant_id, i.type, i.data::json
FROM unnest(CAST(:id AS uuid[]), CAST(:lease_no AS integer[]), CAST(:seq AS integer[]), CAST(:last_seq AS integer[]),
  CAST(:data AS text[]), CAST(:type AS text[])) AS i (id, lease_no, seq, last_seq, data, type)
JOIN jobs j ON j.id = i.id AND j.status = 'running' AND j.lease_no = i.lease_no
ON CONFLICT DO NOTHING
