-- Fragment: spends the turns of the CTE `turns` (job_id, tenant_id, model, tag) and starts the jobs chosen for them.
spent AS (SELECT tenant_id, model, count(*) AS turns FROM turns GROUP BY tenant_id, model),
chosen AS MATERIALIZED (
  SELECT c.* FROM spent s CROSS JOIN LATERAL (
    SELECT r.job_id, r.tenant_id, r.model, r.tag, r.body_bytes FROM ready r
    WHERE r.lane = :lane AND r.model = s.model AND r.tenant_id = s.tenant_id AND (r.expires_at IS NULL OR r.expires_at > now())
    ORDER BY r.priority DESC, r.job_id LIMIT s.turns FOR UPDATE SKIP LOCKED) c
),
weighed AS (
  SELECT c.*, sum(c.body_bytes) OVER (ORDER BY c.tag, c.job_id) - c.body_bytes AS before,
    row_number() OVER (ORDER BY c.tag, c.job_id) AS place
  FROM chosen c
),
taken AS MATERIALIZED (
  SELECT w.* FROM weighed w WHERE w.place = 1 OR w.before + w.body_bytes <= CAST(:bytes AS bigint)
),
left_over AS (
  SELECT t.job_id, t.tenant_id, t.model, row_number() OVER (PARTITION BY t.tenant_id, t.model ORDER BY t.tag, t.job_id) AS n
  FROM turns t WHERE t.job_id NOT IN (SELECT job_id FROM chosen)
),
early AS (
  SELECT k.tag, k.tenant_id, k.model, row_number() OVER (PARTITION BY k.tenant_id, k.model ORDER BY k.tag, k.job_id) AS n
  FROM taken k WHERE k.job_id NOT IN (SELECT job_id FROM turns)
),
inherited AS (
  UPDATE ready r SET tag = e.tag FROM left_over l JOIN early e USING (tenant_id, model, n) WHERE r.job_id = l.job_id
),
clock AS (
  -- Nobody waits for the clock: whoever finds it locked leaves it to the one who holds it.
  UPDATE lane_clocks c SET virtual_time = greatest(c.virtual_time, (SELECT max(tag) FROM turns))
  WHERE c.lane = (SELECT l.lane FROM lane_clocks l WHERE l.lane = :lane AND EXISTS (SELECT FROM turns) FOR UPDATE SKIP LOCKED)
),
gone AS (DELETE FROM ready WHERE job_id = ANY (ARRAY(SELECT job_id FROM taken))),
started AS (
  UPDATE jobs j SET status = 'running', attempts = j.attempts + 1, lease_no = j.lease_no + 1, started_at = now(),
    version = j.version + 1, event_seq = j.event_seq + 1
  FROM taken k WHERE j.id = k.job_id AND j.status = 'queued'
  RETURNING j.id, j.tenant_id, j.key_id, j.endpoint, j.model, coalesce(j.route_model, j.model) AS route_model, j.lane, j.body, j.stream,
    j.webhook IS NOT NULL OR j.group_id IS NOT NULL OR j.concurrency_key IS NOT NULL AS tied,
    j.max_attempts, j.attempts, j.lease_no, j.timeout_s, j.created_at, j.run_at, j.started_at, j.event_seq, j.request_id,
    j.traceparent, j.route, j.cache_options, j.schedule_id, CASE WHEN j.cache_options IS NOT NULL THEN j.metadata END AS metadata,
    j.concurrency_key, k.body_bytes
),
leased AS (
  INSERT INTO running (job_id, tenant_id, key_id, concurrency_key, lane, model, lease_no, process_id, deployment, batch_size)
  SELECT s.id, s.tenant_id, s.key_id, s.concurrency_key, s.lane, s.route_model, s.lease_no, CAST(:process_id AS uuid), w.deployment, count(*) OVER ()
  FROM started s JOIN wanted w ON w.model = s.route_model
),
told AS (
  INSERT INTO job_events (job_id, seq, last_seq, tenant_id, type, data)
  SELECT s.id, s.event_seq, s.event_seq, s.tenant_id, 'job.started', json_build_object('attempt', s.attempts) FROM started s
)
SELECT s.* FROM started s
