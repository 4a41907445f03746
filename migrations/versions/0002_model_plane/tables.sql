-- New columns of big tables are nullable and without a volatile default, new checks of theirs NOT VALID: nothing is rewritten or
-- read through under the lock, and the version before goes on writing its rows.
-- route_model: the model whose queue the job stands in, where that is not the model that was asked for.
ALTER TABLE jobs
  ADD COLUMN route_model TEXT,
  ADD COLUMN key_id UUID,
  ADD COLUMN concurrency_key TEXT,
  ADD COLUMN concurrency_limit INTEGER,
  ADD CONSTRAINT jobs_concurrency_check CHECK ((concurrency_key is null) = (concurrency_limit is null)) NOT VALID,
  ADD CONSTRAINT jobs_concurrency_limit_check CHECK (concurrency_limit between 1 and 10000) NOT VALID
-----
ALTER TABLE ready ADD COLUMN key_id UUID, ADD COLUMN concurrency_key TEXT
-----
ALTER TABLE running ADD COLUMN key_id UUID, ADD COLUMN concurrency_key TEXT
-----
ALTER TABLE waiting ADD COLUMN key_id UUID
-----
-- The jobs of a concurrency key that count against its limit. Jobs without a key, nearly all, are not in these.
CREATE INDEX ready_concurrency_key_idx ON ready (tenant_id, concurrency_key) WHERE concurrency_key is not null
-----
CREATE INDEX running_concurrency_key_idx ON running (tenant_id, concurrency_key) WHERE concurrency_key is not null
-----
CREATE INDEX waiting_tenant_id_idx ON waiting (tenant_id)
-----
CREATE TABLE concurrency_keys (
  tenant_id UUID NOT NULL,
  key TEXT NOT NULL,
  max_active INTEGER NOT NULL,
  named_by UUID NOT NULL,
  used_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  CONSTRAINT concurrency_keys_pkey PRIMARY KEY (tenant_id, key),
  CONSTRAINT concurrency_keys_max_active_check CHECK (max_active between 1 and 10000)
)
-----
CREATE TABLE held_back (
  job_id UUID NOT NULL,
  tenant_id UUID NOT NULL,
  key_id UUID,
  concurrency_key TEXT NOT NULL,
  lane TEXT NOT NULL,
  model TEXT NOT NULL,
  priority SMALLINT NOT NULL,
  body_bytes INTEGER NOT NULL,
  entered_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  expires_at TIMESTAMP WITH TIME ZONE,
  CONSTRAINT held_back_pkey PRIMARY KEY (job_id)
)
-----
CREATE INDEX held_back_turn_idx ON held_back (tenant_id, concurrency_key, priority desc, job_id)
-----
CREATE INDEX held_back_expires_at_idx ON held_back (expires_at) WHERE expires_at is not null
-----
ALTER TABLE held_back SET (autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_scale_factor = 0.05,
  autovacuum_vacuum_insert_threshold = -1, autovacuum_vacuum_cost_delay = 0)
-----
ALTER TABLE tenants
  ADD COLUMN requests_per_minute INTEGER,
  ADD COLUMN tokens_per_minute BIGINT,
  ADD COLUMN max_in_flight INTEGER,
  ADD COLUMN max_queued INTEGER,
  ADD COLUMN budget_day_usd NUMERIC,
  ADD COLUMN budget_month_usd NUMERIC,
  ADD CONSTRAINT tenants_requests_per_minute_check CHECK (requests_per_minute > 0),
  ADD CONSTRAINT tenants_tokens_per_minute_check CHECK (tokens_per_minute > 0),
  ADD CONSTRAINT tenants_max_in_flight_check CHECK (max_in_flight > 0),
  ADD CONSTRAINT tenants_max_queued_check CHECK (max_queued > 0),
  ADD CONSTRAINT tenants_budget_day_usd_check CHECK (budget_day_usd >= 0),
  ADD CONSTRAINT tenants_budget_month_usd_check CHECK (budget_month_usd >= 0)
-----
ALTER TABLE api_keys
  ADD COLUMN tokens_per_minute BIGINT,
  ADD COLUMN max_in_flight INTEGER,
  ADD COLUMN max_queued INTEGER,
  ADD COLUMN budget_day_usd NUMERIC,
  ADD COLUMN budget_month_usd NUMERIC,
  ADD CONSTRAINT api_keys_tokens_per_minute_check CHECK (tokens_per_minute > 0),
  ADD CONSTRAINT api_keys_max_in_flight_check CHECK (max_in_flight > 0),
  ADD CONSTRAINT api_keys_max_queued_check CHECK (max_queued > 0),
  ADD CONSTRAINT api_keys_budget_day_usd_check CHECK (budget_day_usd >= 0),
  ADD CONSTRAINT api_keys_budget_month_usd_check CHECK (budget_month_usd >= 0)
-----
-- The zero key_id stands for jobs that no key handed in. slot spreads the writers of one row over eight.
CREATE TABLE usage_days (
  tenant_id UUID NOT NULL,
  day DATE NOT NULL,
  key_id UUID DEFAULT '00000000-0000-0000-0000-000000000000' NOT NULL,
  model TEXT NOT NULL,
  endpoint TEXT NOT NULL,
  lane TEXT NOT NULL,
  slot SMALLINT DEFAULT 0 NOT NULL,
  jobs BIGINT DEFAULT 0 NOT NULL,
  failed BIGINT DEFAULT 0 NOT NULL,
  input_tokens BIGINT DEFAULT 0 NOT NULL,
  output_tokens BIGINT DEFAULT 0 NOT NULL,
  cached_tokens BIGINT DEFAULT 0 NOT NULL,
  saved_tokens BIGINT DEFAULT 0 NOT NULL,
  cost_usd NUMERIC DEFAULT 0 NOT NULL,
  unpriced_jobs BIGINT DEFAULT 0 NOT NULL,
  CONSTRAINT usage_days_pkey PRIMARY KEY (tenant_id, day, key_id, model, endpoint, lane, slot)
)
-----
-- Updated in place by every commit of the day.
ALTER TABLE usage_days SET (fillfactor = 50, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_scale_factor = 0.05)
-----
ALTER TABLE concurrency_keys SET (fillfactor = 50, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_scale_factor = 0.05)
