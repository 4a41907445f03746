-- Lets jobs into the queue at the end of a transaction: those without a concurrency key, and as many of each key as its limit allows.
--   id[]: jobs without a key that may start now
--   tenant_id[], key[]: keys whose jobs came, went or wait; lock_keys.sql holds them locked, in a statement before this one, so
--   that this one sees what others did before they let go of the lock
-- Active are the jobs of a key that are ready or running. They are counted and not kept count of: no crash and no defect can
-- leave a wrong number behind. Only a key with jobs held back is counted at all.
-- Whoever cancels or expires a held-back job has it locked and will come for the key's lock, so its row is passed over.
-- Returns the lanes that got work, each with how many jobs entered.
WITH keys AS MATERIALIZED (
  SELECT k.tenant_id, k.key, k.max_active
  FROM unnest(CAST(:tenant_id AS uuid[]), CAST(:key AS text[])) AS i (tenant_id, key)
  JOIN concurrency_keys k ON k.tenant_id = i.tenant_id AND k.key = i.key
  WHERE EXISTS (SELECT FROM held_back h WHERE h.tenant_id = i.tenant_id AND h.concurrency_key = i.key)
),
rooms AS MATERIALIZED (
  SELECT k.tenant_id, k.key, k.max_active
    - (SELECT count(*) FROM ready r WHERE r.tenant_id = k.tenant_id AND r.concurrency_key = k.key)
    - (SELECT count(*) FROM running r WHERE r.tenant_id = k.tenant_id AND r.concurrency_key = k.key) AS room
  FROM keys k
),
promoted AS MATERIALIZED (
  SELECT h.* FROM rooms k CROSS JOIN LATERAL (
    SELECT h.job_id, h.tenant_id, h.key_id, h.concurrency_key, h.lane, h.model, h.priority, h.body_bytes, h.expires_at
    FROM held_back h WHERE h.tenant_id = k.tenant_id AND h.concurrency_key = k.key
    ORDER BY h.priority DESC, h.job_id LIMIT greatest(0, k.room) FOR UPDATE SKIP LOCKED) h
),
left_held AS (DELETE FROM held_back WHERE job_id = ANY (ARRAY(SELECT job_id FROM promoted))),
entering AS (
  SELECT * FROM promoted
  UNION ALL
  SELECT j.id, j.tenant_id, j.key_id, NULL::text, j.lane, coalesce(j.route_model, j.model), j.priority,
    octet_length(j.body::text), CASE WHEN j.started_at IS NULL THEN j.expires_at END
  FROM unnest(CAST(:id AS uuid[])) AS i (id) JOIN jobs j ON j.id = i.id
),
-- include: _enter_ready.sql
SELECT lane, count(*) AS jobs FROM entering GROUP BY lane
