-- The jobs that a batch still holds, a page at a time; cancelled ones are no longer among them.
--   id: the batch · after: the last job of the page before · most
-- body is null unless with_body.
SELECT
-- include: _upstream_batch_job.sql
  , CASE WHEN CAST(:with_body AS boolean) THEN j.body END AS body
FROM running r JOIN jobs j ON j.id = r.job_id AND j.status = 'running' AND j.lease_no = r.lease_no
WHERE r.process_id = :id AND r.job_id > CAST(:after AS uuid)
ORDER BY r.job_id LIMIT :most
