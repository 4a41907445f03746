CREATE TABLE attempts (
  job_id UUID NOT NULL,
  lease_no INTEGER NOT NULL,
  tenant_id UUID NOT NULL,
  number SMALLINT NOT NULL,
  process_id UUID NOT NULL,
  deployment TEXT,
  started_at TIMESTAMP WITH TIME ZONE NOT NULL,
  finished_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  outcome TEXT NOT NULL,
  error JSONB,
  ttft_ms DOUBLE PRECISION,
  batch_size INTEGER,
  usage JSONB,
  cost_usd NUMERIC,
  CONSTRAINT attempts_pkey PRIMARY KEY (job_id, lease_no),
  CONSTRAINT attempts_outcome_check CHECK (outcome in ('succeeded','failed','retried','cancelled','lost','handed_back'))
)
 PARTITION BY RANGE (job_id)
-----
CREATE TABLE groups (
  id UUID NOT NULL,
  tenant_id UUID NOT NULL,
  total INTEGER NOT NULL,
  remaining INTEGER NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  finished_at TIMESTAMP WITH TIME ZONE,
  cancelled_at TIMESTAMP WITH TIME ZONE,
  CONSTRAINT groups_pkey PRIMARY KEY (id),
  CONSTRAINT groups_remaining_check CHECK (remaining between 0 and total),
  CONSTRAINT groups_finished_check CHECK ((remaining = 0) = (finished_at is not null))
)
-----
CREATE INDEX groups_tenant_id_id_idx ON groups (tenant_id, id)
-----
CREATE TABLE idempotency_keys (
  tenant_id UUID NOT NULL,
  key TEXT NOT NULL,
  fingerprint BYTEA NOT NULL,
  object_id UUID NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  CONSTRAINT idempotency_keys_pkey PRIMARY KEY (tenant_id, key)
)
-----
CREATE INDEX idempotency_keys_created_at_idx ON idempotency_keys (created_at)
-----
CREATE TABLE job_events (
  job_id UUID NOT NULL,
  seq INTEGER NOT NULL,
  last_seq INTEGER NOT NULL,
  tenant_id UUID NOT NULL,
  type TEXT NOT NULL,
  data JSON,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  CONSTRAINT job_events_pkey PRIMARY KEY (job_id, seq),
  CONSTRAINT job_events_last_seq_check CHECK (last_seq >= seq)
)
 PARTITION BY RANGE (job_id)
-----
CREATE TABLE jobs (
  id UUID NOT NULL,
  tenant_id UUID NOT NULL,
  status TEXT NOT NULL,
  endpoint TEXT NOT NULL,
  model TEXT NOT NULL,
  lane TEXT NOT NULL,
  priority SMALLINT NOT NULL,
  body JSON NOT NULL,
  stream BOOLEAN NOT NULL,
  metadata JSONB NOT NULL,
  webhook JSONB,
  cache_options JSONB,
  group_id UUID,
  schedule_id UUID,
  max_attempts SMALLINT NOT NULL,
  attempts SMALLINT DEFAULT 0 NOT NULL,
  lease_no INTEGER DEFAULT 0 NOT NULL,
  timeout_s DOUBLE PRECISION NOT NULL,
  ttl_s DOUBLE PRECISION NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE NOT NULL,
  run_at TIMESTAMP WITH TIME ZONE NOT NULL,
  expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
  started_at TIMESTAMP WITH TIME ZONE,
  finished_at TIMESTAMP WITH TIME ZONE,
  version INTEGER DEFAULT 1 NOT NULL,
  event_seq INTEGER DEFAULT 1 NOT NULL,
  result JSON,
  error JSONB,
  usage JSONB,
  cost_usd NUMERIC,
  route JSONB,
  cache JSONB,
  timing JSONB,
  request_id TEXT,
  traceparent TEXT,
  CONSTRAINT jobs_pkey PRIMARY KEY (id),
  CONSTRAINT jobs_status_check CHECK (status in ('queued','running','succeeded','failed','cancelled','expired')),
  CONSTRAINT jobs_finished_at_check CHECK ((status in ('succeeded','failed','cancelled','expired')) = (finished_at is not null)),
  CONSTRAINT jobs_started_at_check CHECK (status <> 'running' or started_at is not null),
  CONSTRAINT jobs_result_check CHECK ((status = 'succeeded') = (result is not null)),
  CONSTRAINT jobs_error_check CHECK ((status = 'failed') = (error is not null)),
  CONSTRAINT jobs_priority_check CHECK (priority between 0 and 9),
  CONSTRAINT jobs_lane_check CHECK (lane in ('interactive','default','bulk','prewarm')),
  CONSTRAINT jobs_attempts_check CHECK (attempts between 0 and lease_no),
  CONSTRAINT jobs_expires_at_check CHECK (run_at <= expires_at)
)
 PARTITION BY RANGE (id)
-----
CREATE INDEX jobs_group_id_id_idx ON jobs (group_id, id) WHERE group_id is not null
-----
CREATE INDEX jobs_metadata_idx ON jobs USING gin (metadata jsonb_path_ops) WHERE metadata <> '{}'::jsonb
-----
CREATE INDEX jobs_tenant_id_id_idx ON jobs (tenant_id, id)
-----
CREATE TABLE lane_clocks (
  lane TEXT NOT NULL,
  virtual_time DOUBLE PRECISION DEFAULT 0 NOT NULL,
  CONSTRAINT lane_clocks_pkey PRIMARY KEY (lane)
)
-----
CREATE TABLE processes (
  id UUID NOT NULL,
  kind TEXT NOT NULL,
  host TEXT NOT NULL,
  pid INTEGER NOT NULL,
  lanes TEXT[] NOT NULL,
  started_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  lease_until TIMESTAMP WITH TIME ZONE NOT NULL,
  metrics TEXT,
  health JSONB,
  CONSTRAINT processes_pkey PRIMARY KEY (id),
  CONSTRAINT processes_kind_check CHECK (kind in ('api','worker'))
)
-----
CREATE TABLE ready (
  job_id UUID NOT NULL,
  tenant_id UUID NOT NULL,
  lane TEXT NOT NULL,
  model TEXT NOT NULL,
  tag DOUBLE PRECISION NOT NULL,
  priority SMALLINT NOT NULL,
  body_bytes INTEGER NOT NULL,
  entered_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  expires_at TIMESTAMP WITH TIME ZONE,
  CONSTRAINT ready_pkey PRIMARY KEY (job_id)
)
-----
CREATE INDEX ready_expires_at_idx ON ready (expires_at) WHERE expires_at is not null
-----
CREATE INDEX ready_tenant_idx ON ready (lane, model, tenant_id, priority desc, job_id)
-----
CREATE INDEX ready_turn_idx ON ready (lane, model, tag, job_id)
-----
CREATE TABLE running (
  job_id UUID NOT NULL,
  tenant_id UUID NOT NULL,
  lane TEXT NOT NULL,
  model TEXT NOT NULL,
  lease_no INTEGER NOT NULL,
  process_id UUID NOT NULL,
  deployment TEXT,
  batch_size INTEGER,
  claimed_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  CONSTRAINT running_pkey PRIMARY KEY (job_id)
)
-----
CREATE INDEX running_process_id_idx ON running (process_id)
-----
CREATE TABLE tenant_turns (
  lane TEXT NOT NULL,
  tenant_id UUID NOT NULL,
  finish_tag DOUBLE PRECISION NOT NULL,
  CONSTRAINT tenant_turns_pkey PRIMARY KEY (lane, tenant_id)
)
-----
CREATE TABLE tenants (
  id UUID NOT NULL,
  name TEXT NOT NULL,
  weight NUMERIC DEFAULT 1 NOT NULL,
  webhook_secret_encrypted BYTEA NOT NULL,
  old_webhook_secret_encrypted BYTEA,
  old_webhook_secret_until TIMESTAMP WITH TIME ZONE,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  CONSTRAINT tenants_pkey PRIMARY KEY (id),
  CONSTRAINT tenants_weight_check CHECK (weight > 0),
  CONSTRAINT tenants_name_key UNIQUE (name)
)
-----
CREATE TABLE waiting (
  job_id UUID NOT NULL,
  tenant_id UUID NOT NULL,
  run_at TIMESTAMP WITH TIME ZONE NOT NULL,
  CONSTRAINT waiting_pkey PRIMARY KEY (job_id)
)
-----
CREATE INDEX waiting_run_at_idx ON waiting (run_at)
-----
CREATE TABLE webhook_endpoints (
  id UUID NOT NULL,
  tenant_id UUID NOT NULL,
  name TEXT NOT NULL,
  url TEXT NOT NULL,
  event_types TEXT[] NOT NULL,
  enabled BOOLEAN DEFAULT true NOT NULL,
  disabled_reason TEXT,
  secret_encrypted BYTEA NOT NULL,
  secret_hint TEXT NOT NULL,
  old_secret_encrypted BYTEA,
  old_secret_until TIMESTAMP WITH TIME ZONE,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  CONSTRAINT webhook_endpoints_pkey PRIMARY KEY (id)
)
-----
CREATE INDEX webhook_endpoints_tenant_id_id_idx ON webhook_endpoints (tenant_id, id)
-----
CREATE TABLE webhook_events (
  id UUID NOT NULL,
  tenant_id UUID NOT NULL,
  type TEXT NOT NULL,
  job_id UUID,
  group_id UUID,
  payload TEXT NOT NULL,
  traceparent TEXT,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  CONSTRAINT webhook_events_pkey PRIMARY KEY (id)
)
-----
CREATE INDEX webhook_events_job_id_idx ON webhook_events (job_id) WHERE job_id is not null
-----
CREATE TABLE api_keys (
  id UUID NOT NULL,
  tenant_id UUID NOT NULL,
  token_hash BYTEA NOT NULL,
  prefix TEXT NOT NULL,
  scopes TEXT[] NOT NULL,
  requests_per_minute INTEGER,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  revoked_at TIMESTAMP WITH TIME ZONE,
  CONSTRAINT api_keys_pkey PRIMARY KEY (id),
  CONSTRAINT api_keys_sha256_check CHECK (octet_length(token_hash) = 32),
  CONSTRAINT api_keys_requests_per_minute_check CHECK (requests_per_minute > 0),
  CONSTRAINT api_keys_tenant_id_fkey FOREIGN KEY(tenant_id) REFERENCES tenants (id),
  CONSTRAINT api_keys_token_hash_key UNIQUE (token_hash)
)
-----
CREATE INDEX api_keys_tenant_id_idx ON api_keys (tenant_id)
-----
CREATE TABLE webhook_deliveries (
  id UUID NOT NULL,
  event_id UUID NOT NULL,
  tenant_id UUID NOT NULL,
  endpoint_id UUID,
  url TEXT NOT NULL,
  status TEXT DEFAULT 'pending' NOT NULL,
  target UUID GENERATED ALWAYS AS
    (coalesce(endpoint_id, md5(tenant_id::text || coalesce(substring(url from '^[a-z]+://[^/?#]+'), ''))::uuid)) STORED NOT NULL,
  test BOOLEAN DEFAULT false NOT NULL,
  tries SMALLINT DEFAULT 0 NOT NULL,
  next_try_at TIMESTAMP WITH TIME ZONE DEFAULT now(),
  lease_no INTEGER DEFAULT 0 NOT NULL,
  leased_by UUID,
  lease_until TIMESTAMP WITH TIME ZONE,
  last_status INTEGER,
  last_error TEXT,
  last_duration_ms DOUBLE PRECISION,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  delivered_at TIMESTAMP WITH TIME ZONE,
  CONSTRAINT webhook_deliveries_pkey PRIMARY KEY (id),
  CONSTRAINT webhook_deliveries_status_check CHECK (status in ('pending','sending','delivered','exhausted','cancelled')),
  CONSTRAINT webhook_deliveries_delivered_at_check CHECK ((status = 'delivered') = (delivered_at is not null)),
  CONSTRAINT webhook_deliveries_lease_until_check CHECK ((status = 'sending') = (lease_until is not null)),
  CONSTRAINT webhook_deliveries_event_id_fkey FOREIGN KEY(event_id) REFERENCES webhook_events (id) ON DELETE CASCADE
)
-----
CREATE INDEX webhook_deliveries_due_idx ON webhook_deliveries (target, next_try_at) WHERE status = 'pending'
-----
CREATE INDEX webhook_deliveries_next_try_at_idx ON webhook_deliveries (next_try_at) WHERE status = 'pending'
-----
CREATE INDEX webhook_deliveries_in_flight_idx ON webhook_deliveries (target) WHERE status = 'sending'
-----
CREATE INDEX webhook_deliveries_endpoint_id_idx ON webhook_deliveries (endpoint_id) WHERE status in ('pending','sending')
-----
CREATE INDEX webhook_deliveries_event_id_idx ON webhook_deliveries (event_id)
-----
CREATE INDEX webhook_deliveries_sending_idx ON webhook_deliveries (lease_until) WHERE status = 'sending'
-----
CREATE INDEX webhook_deliveries_tenant_id_id_idx ON webhook_deliveries (tenant_id, id)
-----
-- A row whose week has no partition yet (maintenance was away for a month) still has a home.
CREATE TABLE jobs_default PARTITION OF jobs DEFAULT
-----
CREATE TABLE attempts_default PARTITION OF attempts DEFAULT
-----
CREATE TABLE job_events_default PARTITION OF job_events DEFAULT
-----
-- The narrow tables turn over completely all the time: vacuum them by count, not by share, and without pauses.
ALTER TABLE ready SET (autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_scale_factor = 0.05,
  autovacuum_vacuum_insert_threshold = -1, autovacuum_vacuum_cost_delay = 0)
-----
ALTER TABLE running SET (autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_scale_factor = 0.05,
  autovacuum_vacuum_insert_threshold = -1, autovacuum_vacuum_cost_delay = 0)
-----
ALTER TABLE waiting SET (autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_scale_factor = 0.05,
  autovacuum_vacuum_cost_delay = 0)
-----
-- Small rows that are updated in place all the time: room on the page keeps their indexes untouched.
ALTER TABLE tenant_turns SET (fillfactor = 50)
-----
ALTER TABLE processes SET (fillfactor = 50)
