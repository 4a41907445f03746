-- How many jobs a tenant, and one of its keys, have queued and running; counts the queue of each model and lane to `most`.
-- As the owner, because row security would have the API look through everybody's queue for its tenant's rows. What waits in an
-- upstream's batch for up to a day does not count as running.
CREATE FUNCTION standing(tenant uuid, key uuid, most integer)
RETURNS TABLE (tenant_queued bigint, key_queued bigint, tenant_interactive bigint, key_interactive bigint, tenant_running bigint,
  key_running bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
AS $$
  WITH RECURSIVE places AS (
    (SELECT r.lane, r.model FROM ready r ORDER BY r.lane, r.model LIMIT 1)
    UNION ALL
    SELECT n.lane, n.model FROM places p CROSS JOIN LATERAL (
      SELECT r.lane, r.model FROM ready r WHERE (r.lane, r.model) > (p.lane, p.model) ORDER BY r.lane, r.model LIMIT 1) n
  ),
  queued AS (
    SELECT q.lane, q.key_id FROM places p CROSS JOIN LATERAL (
      SELECT r.lane, r.key_id FROM ready r WHERE r.lane = p.lane AND r.model = p.model AND r.tenant_id = tenant LIMIT most) q
    UNION ALL
    (SELECT h.lane, h.key_id FROM held_back h WHERE h.tenant_id = tenant LIMIT most)
    UNION ALL
    (SELECT '', w.key_id FROM waiting w WHERE w.tenant_id = tenant LIMIT most)
  ),
  in_line AS (
    SELECT count(*) AS tenant_queued, count(*) FILTER (WHERE key_id = key) AS key_queued,
      count(*) FILTER (WHERE lane = 'interactive') AS tenant_interactive,
      count(*) FILTER (WHERE lane = 'interactive' AND key_id = key) AS key_interactive
    FROM queued
  ),
  at_work AS (
    SELECT count(*) AS tenant_running, count(*) FILTER (WHERE r.key_id = key) AS key_running
    FROM running r
    WHERE r.tenant_id = tenant
      AND NOT EXISTS (SELECT FROM processes p WHERE p.id = r.process_id AND p.kind = 'upstream_batch')
  )
  SELECT * FROM in_line, at_work
$$
-----
REVOKE ALL ON FUNCTION standing(uuid, uuid, integer) FROM PUBLIC
-----
GRANT EXECUTE ON FUNCTION standing(uuid, uuid, integer) TO coatcheck_api, coatcheck_worker
