-- Locks jobs in the order of their ids, before a transaction moves them by more than one statement.
--   id[]
-- Returns each with its state, which nobody can change now.
SELECT j.id, j.status FROM jobs j WHERE j.id = ANY (CAST(:id AS uuid[])) ORDER BY j.id FOR UPDATE
