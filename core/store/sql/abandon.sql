-- Gives up leases that this process lost track of: the next sweep takes the jobs as it takes those of a dead process, with the
-- attempt counted.
--   process_id; arrays: id, lease_no
UPDATE running r SET process_id = '00000000-0000-0000-0000-000000000000'
FROM unnest(CAST(:id AS uuid[]), CAST(:lease_no AS integer[])) AS i (id, lease_no)
WHERE r.job_id = i.id AND r.lease_no = i.lease_no AND r.process_id = :process_id
