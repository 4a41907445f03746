-- Writes webhook events and one delivery for each endpoint that wants them, and for a job's own URL.
--   arrays: id, tenant_id, type, job_id, group_id, payload, traceparent, url (the job's own, or null), url_delivery_id
-- Returns how many deliveries are due now.
WITH input AS (
  SELECT * FROM unnest(CAST(:id AS uuid[]), CAST(:tenant_id AS uuid[]), CAST(:type AS text[]), CAST(:job_id AS uuid[]),
    CAST(:group_id AS uuid[]), CAST(:payload AS text[]), CAST(:traceparent AS text[]), CAST(:url AS text[]),
    CAST(:url_delivery_id AS uuid[]))
  AS t (id, tenant_id, type, job_id, group_id, payload, traceparent, url, url_delivery_id)
),
wanted AS (
  SELECT i.id AS event_id, i.tenant_id, e.id AS endpoint_id, e.url, NULL::uuid AS delivery_id
  FROM input i JOIN webhook_endpoints e ON e.tenant_id = i.tenant_id AND e.enabled AND i.type = ANY (e.event_types)
  UNION ALL
  SELECT i.id, i.tenant_id, NULL, i.url, i.url_delivery_id FROM input i WHERE i.url IS NOT NULL
),
event AS (
  INSERT INTO webhook_events (id, tenant_id, type, job_id, group_id, payload, traceparent)
  SELECT id, tenant_id, type, job_id, group_id, payload, traceparent FROM input i
  WHERE EXISTS (SELECT FROM wanted w WHERE w.event_id = i.id)
),
delivery AS (
  INSERT INTO webhook_deliveries (id, event_id, tenant_id, endpoint_id, url)
  -- A version 7 id of its own for every endpoint: the event's time, and fresh random bits after it.
  SELECT coalesce(w.delivery_id, (left(replace(w.event_id::text, '-', ''), 13) || substr(replace(gen_random_uuid()::text, '-', ''), 14))::uuid),
    w.event_id, w.tenant_id, w.endpoint_id, w.url FROM wanted w
)
SELECT count(*) AS deliveries FROM wanted
