-- Parts some jobs of a batch off, into a batch of their own: one upstream batch serves one endpoint.
--   id, fence: the batch under its worker's lease · part_id: the new batch · endpoint · job_id[]
-- Returns how many jobs moved; nothing happens when another worker has the batch by now.
WITH held AS (SELECT * FROM upstream_batches WHERE id = :id AND fence = :fence AND state = 'collecting' FOR UPDATE),
part AS (
  INSERT INTO upstream_batches (id, deployment, model, endpoint, state, jobs)
  SELECT CAST(:part_id AS uuid), deployment, model, CAST(:endpoint AS text), 'filled', cardinality(CAST(:job_id AS uuid[])) FROM held
  RETURNING id, deployment
),
holder AS (
  INSERT INTO processes (id, kind, host, pid, lanes, lease_until)
  SELECT id, 'upstream_batch', deployment, 0, '{}', now() + interval '28 hours' FROM part
),
moved AS (
  UPDATE running r SET process_id = p.id FROM part p
  WHERE r.process_id = :id AND r.job_id = ANY (CAST(:job_id AS uuid[]))
  RETURNING r.job_id
)
SELECT count(*) AS jobs FROM moved
