-- Renews a process's lease by the database's clock, and tells which leases it holds.
--   id, kind, host, pid, lanes[], lease_s, metrics, health
WITH alive AS (
  INSERT INTO processes (id, kind, host, pid, lanes, lease_until, metrics, health)
  VALUES (:id, :kind, :host, :pid, CAST(:lanes AS text[]), now() + make_interval(secs => CAST(:lease_s AS double precision)),
    CAST(:metrics AS text), CAST(:health AS jsonb))
  ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until, metrics = excluded.metrics, health = excluded.health
)
SELECT job_id, lease_no FROM running WHERE process_id = :id
