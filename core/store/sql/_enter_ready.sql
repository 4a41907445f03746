-- Fragment: gives every job of the CTE `entering` its turn and a place in the ready table.
--   entering: (job_id uuid, tenant_id uuid, key_id uuid, concurrency_key text, lane text, model text, priority smallint,
--              body_bytes integer, expires_at timestamptz)      expires_at is null for a job that has started before
-- Start-time fair queueing (Goyal, Vin, Cheng 1996): a job's tag is max(lane's virtual time, tenant's last finish tag), and
-- the tenant's finish tag moves on by the job's cost over the tenant's weight; a job costs 1. policies/fairness.py has the same
-- arithmetic. Rows are touched in the order of their keys, so that two commits never wait for each other crosswise.
shares AS MATERIALIZED (
  SELECT e.lane, e.tenant_id, count(*) AS jobs,
    1 / coalesce((SELECT n.weight::double precision FROM tenants n WHERE n.id = e.tenant_id), 1) AS cost
  FROM entering e GROUP BY e.lane, e.tenant_id
),
turns AS (
  INSERT INTO tenant_turns AS t (lane, tenant_id, finish_tag)
  SELECT s.lane, s.tenant_id, c.virtual_time + s.jobs * s.cost
  FROM shares s JOIN lane_clocks c ON c.lane = s.lane ORDER BY s.lane, s.tenant_id
  ON CONFLICT (lane, tenant_id) DO UPDATE SET finish_tag =
    greatest(t.finish_tag, (SELECT c.virtual_time FROM lane_clocks c WHERE c.lane = t.lane))
    + excluded.finish_tag - (SELECT c.virtual_time FROM lane_clocks c WHERE c.lane = t.lane)
  RETURNING lane, tenant_id, finish_tag
),
entered AS (
  INSERT INTO ready (job_id, tenant_id, key_id, concurrency_key, lane, model, tag, priority, body_bytes, expires_at)
  SELECT n.job_id, n.tenant_id, n.key_id, n.concurrency_key, n.lane, n.model, t.finish_tag - n.after * s.cost, n.priority,
    n.body_bytes, n.expires_at
  FROM (SELECT e.*, row_number() OVER (PARTITION BY e.lane, e.tenant_id ORDER BY e.job_id DESC) AS after FROM entering e) n
  JOIN turns t ON t.lane = n.lane AND t.tenant_id = n.tenant_id
  JOIN shares s ON s.lane = n.lane AND s.tenant_id = n.tenant_id
  RETURNING job_id
)
