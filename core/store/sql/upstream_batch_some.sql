-- Of the jobs named, those that a batch still holds, with their bodies.
--   id: the batch · job_id[], lease_no[]
SELECT
-- include: _upstream_batch_job.sql
  , j.body
FROM unnest(CAST(:job_id AS uuid[]), CAST(:lease_no AS integer[])) AS i (job_id, lease_no)
JOIN running r ON r.job_id = i.job_id AND r.lease_no = i.lease_no AND r.process_id = :id
JOIN jobs j ON j.id = r.job_id AND j.status = 'running' AND j.lease_no = r.lease_no
