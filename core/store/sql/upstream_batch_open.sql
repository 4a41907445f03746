-- Opens a batch for an upstream's Batch API and leases it, if enough jobs wait for the deployment or have waited long enough.
--   id, deployment, model, process_id, lease_s
--   collect_s     the first job in turn has waited for so long
--   most          jobs in a full batch: so many need not wait
--   open_most     batches of the deployment that may be under way
--   paused_s      for so long after its upstream refused a batch the deployment gets none
-- Returns the batch, or nothing: another worker may just be filling one.
WITH first AS (
  SELECT r.entered_at FROM ready r WHERE r.lane = 'bulk' AND r.model = :model ORDER BY r.tag, r.job_id LIMIT 1
),
ripe AS (
  SELECT FROM first f
  WHERE f.entered_at <= now() - make_interval(secs => CAST(:collect_s AS double precision))
    OR (SELECT count(*) FROM (
          SELECT FROM ready r WHERE r.lane = 'bulk' AND r.model = :model LIMIT CAST(:most AS integer)) w) >= CAST(:most AS integer)
),
opened AS (
  INSERT INTO upstream_batches (id, deployment, model, tries, fence, leased_by, lease_until)
  SELECT CAST(:id AS uuid), CAST(:deployment AS text), CAST(:model AS text), 1, 1, CAST(:process_id AS uuid),
    now() + make_interval(secs => CAST(:lease_s AS double precision))
  FROM ripe
  WHERE (SELECT count(*) FROM upstream_batches b WHERE b.deployment = :deployment AND b.state <> 'settled') < CAST(:open_most AS integer)
    AND NOT EXISTS (
      SELECT FROM upstream_batches b WHERE b.deployment = :deployment AND b.outcome = 'refused'
        AND b.ended_at > now() - make_interval(secs => CAST(:paused_s AS double precision)))
  ON CONFLICT DO NOTHING
  RETURNING *
),
holder AS (
  INSERT INTO processes (id, kind, host, pid, lanes, lease_until)
  SELECT id, 'upstream_batch', deployment, 0, '{}', now() + interval '28 hours' FROM opened
)
SELECT * FROM opened
