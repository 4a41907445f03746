-- Takes jobs out of a batch that no Batch API can serve, into the hands of a worker process; to be lost at once with the id of
-- nobody.
--   id: the batch · process_id · job_id[]
-- Returns the jobs that it got.
UPDATE running r SET process_id = CAST(:process_id AS uuid)
WHERE r.process_id = :id AND r.job_id = ANY (CAST(:job_id AS uuid[]))
RETURNING r.job_id
