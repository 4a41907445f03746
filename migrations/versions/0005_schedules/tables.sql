-- What is to be done when. next_run_at is when somebody has to look next: null while paused.
CREATE TABLE schedules (
  id UUID NOT NULL,
  tenant_id UUID NOT NULL,
  key_id UUID,
  name TEXT NOT NULL,
  kind TEXT NOT NULL,
  cron TEXT NOT NULL,
  timezone TEXT NOT NULL,
  paused BOOLEAN DEFAULT false NOT NULL,
  template JSON NOT NULL,
  matrix JSON,
  budget JSON,
  ttl_s DOUBLE PRECISION,
  refresh_before_s DOUBLE PRECISION,
  next_run_at TIMESTAMP WITH TIME ZONE,
  version INTEGER DEFAULT 1 NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  CONSTRAINT schedules_pkey PRIMARY KEY (id),
  CONSTRAINT schedules_kind_check CHECK (kind in ('jobs','prewarm','keep_warm')),
  CONSTRAINT schedules_paused_check CHECK (not paused or next_run_at is null)
)
-----
CREATE INDEX schedules_tenant_id_id_idx ON schedules (tenant_id, id)
-----
CREATE INDEX schedules_next_run_at_idx ON schedules (next_run_at) WHERE next_run_at is not null
-----
-- One firing of a schedule. The group of its jobs has the same id: it counts down with the jobs, and its last job ends the run.
-- plan is what the run expands, as the schedule was when it fired; next_index the first combination that is not yet decided upon;
-- next_look_at when a worker has to look at it next, null once there is nothing more to do but wait for its jobs.
CREATE TABLE schedule_runs (
  id UUID NOT NULL,
  schedule_id UUID NOT NULL,
  tenant_id UUID NOT NULL,
  kind TEXT NOT NULL,
  slot TIMESTAMP WITH TIME ZONE NOT NULL,
  trigger TEXT NOT NULL,
  status TEXT NOT NULL,
  reason TEXT,
  missed INTEGER DEFAULT 0 NOT NULL,
  planned INTEGER DEFAULT 0 NOT NULL,
  next_index INTEGER DEFAULT 0 NOT NULL,
  skipped_fresh INTEGER DEFAULT 0 NOT NULL,
  submitted INTEGER DEFAULT 0 NOT NULL,
  over_budget INTEGER DEFAULT 0 NOT NULL,
  succeeded INTEGER DEFAULT 0 NOT NULL,
  failed INTEGER DEFAULT 0 NOT NULL,
  cancelled INTEGER DEFAULT 0 NOT NULL,
  tokens BIGINT DEFAULT 0 NOT NULL,
  cost_usd NUMERIC,
  plan JSON,
  next_look_at TIMESTAMP WITH TIME ZONE,
  ends_at TIMESTAMP WITH TIME ZONE,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  finished_at TIMESTAMP WITH TIME ZONE,
  CONSTRAINT schedule_runs_pkey PRIMARY KEY (id),
  CONSTRAINT schedule_runs_schedule_id_fkey FOREIGN KEY (schedule_id) REFERENCES schedules (id) ON DELETE CASCADE,
  CONSTRAINT schedule_runs_trigger_check CHECK (trigger in ('cron','catch_up','manual')),
  CONSTRAINT schedule_runs_status_check CHECK (status in ('running','completed','cancelled','skipped')),
  CONSTRAINT schedule_runs_finished_at_check CHECK ((status = 'running') = (finished_at is null)),
  CONSTRAINT schedule_runs_next_index_check CHECK (next_index between 0 and planned)
)
-----
-- However many clocks ring: a schedule fires once for each of its times.
CREATE UNIQUE INDEX schedule_runs_slot_idx ON schedule_runs (schedule_id, slot) WHERE trigger <> 'manual'
-----
-- A run begins only when the one before it has ended.
CREATE UNIQUE INDEX schedule_runs_running_idx ON schedule_runs (schedule_id) WHERE status = 'running'
-----
CREATE INDEX schedule_runs_schedule_id_id_idx ON schedule_runs (schedule_id, id)
-----
CREATE INDEX schedule_runs_next_look_at_idx ON schedule_runs (next_look_at) WHERE next_look_at is not null
-----
GRANT SELECT, INSERT, UPDATE, DELETE ON schedules, schedule_runs TO coatcheck_api, coatcheck_worker
-----
DO $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['schedules', 'schedule_runs'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format($policy$
      CREATE POLICY tenant_wall ON %I TO coatcheck_api USING (
        tenant_id = any ((SELECT string_to_array(nullif(current_setting('app.tenants', true), ''), ',')::uuid[])::uuid[]))
      $policy$, name);
    EXECUTE format('CREATE POLICY worker_serves_all ON %I TO coatcheck_worker USING (true) WITH CHECK (true)', name);
  END LOOP;
END $$
