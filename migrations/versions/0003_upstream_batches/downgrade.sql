-- The version before finds the leases of these batches gone and lets their jobs run again.
DROP TABLE upstream_batches
-----
DELETE FROM processes WHERE kind = 'upstream_batch'
-----
ALTER TABLE processes DROP CONSTRAINT processes_kind_check
-----
ALTER TABLE processes ADD CONSTRAINT processes_kind_check CHECK (kind IN ('api', 'worker'))
