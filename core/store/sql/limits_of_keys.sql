-- What limits a worker has to hold jobs of these keys to.
--   keys[]
SELECT * FROM limits_of_keys(CAST(:keys AS uuid[]))
