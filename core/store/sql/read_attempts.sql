-- The attempts of a job, oldest first; the one under way comes last, without an end.
--   id, tenant_id
SELECT a.lease_no, a.number, a.deployment, a.started_at, a.ttft_ms, a.finished_at, a.outcome, a.error, a.batch_size, a.usage, a.cost_usd
FROM attempts a WHERE a.job_id = :id AND a.tenant_id = :tenant_id
UNION ALL
SELECT r.lease_no, j.attempts, r.deployment, r.claimed_at, NULL, NULL, NULL, NULL, r.batch_size, NULL, NULL
FROM running r JOIN jobs j ON j.id = r.job_id WHERE r.job_id = :id AND r.tenant_id = :tenant_id
ORDER BY lease_no
