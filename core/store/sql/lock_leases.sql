-- Locks the jobs of these leases in the order of their ids, before a commit ends some and sends others back.
--   arrays: id, lease_no. Jobs that somebody else has by now are left alone: we hold no place of theirs in the queue.
SELECT j.id FROM unnest(CAST(:id AS uuid[]), CAST(:lease_no AS integer[])) AS i (id, lease_no)
JOIN jobs j ON j.id = i.id AND j.status = 'running' AND j.lease_no = i.lease_no ORDER BY j.id FOR UPDATE OF j
