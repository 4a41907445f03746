-- Deployments whose upstream refused a batch lately: their jobs go the usual way.
--   paused_s
SELECT DISTINCT b.deployment FROM upstream_batches b
WHERE b.ended_at > now() - make_interval(secs => CAST(:paused_s AS double precision)) AND b.outcome = 'refused'
