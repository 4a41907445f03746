-- The requests of some jobs of a tenant, in the order of their ids as they are given; as many of the first as fit.
--   tenant_id; id[]; most_bytes: what the bodies may weigh together; the first is returned whatever it weighs
-- Returns all ids up to the last that fits: body is null for a job that is gone.
SELECT id, endpoint, body FROM (
  SELECT w.id, w.place, j.endpoint, j.body::text AS body,
    sum(coalesce(octet_length(j.body::text), 0)) OVER (ORDER BY w.place) AS bytes
  FROM unnest(CAST(:id AS uuid[])) WITH ORDINALITY AS w (id, place)
  LEFT JOIN jobs j ON j.id = w.id AND j.tenant_id = :tenant_id) AS wanted
WHERE bytes <= :most_bytes OR place = 1 ORDER BY place
