-- Jobs that are handed to an upstream's Batch API together. Which jobs a batch holds is not written here: their rows in `running`
-- name the batch in place of a process, and so do their leases.
CREATE TABLE upstream_batches (
  id uuid NOT NULL,
  deployment text NOT NULL,
  model text NOT NULL,
  endpoint text,
  state text NOT NULL DEFAULT 'collecting',
  jobs integer NOT NULL DEFAULT 0,
  file_id text,
  upstream_id text,
  output_file_id text,
  error_file_id text,
  outcome text,
  error jsonb,
  tries integer NOT NULL DEFAULT 0,
  fence integer NOT NULL DEFAULT 0,
  leased_by uuid,
  lease_until timestamptz,
  next_look_at timestamptz NOT NULL DEFAULT now(),
  created_at timestamptz NOT NULL DEFAULT now(),
  submitted_at timestamptz,
  ended_at timestamptz,
  CONSTRAINT upstream_batches_pkey PRIMARY KEY (id),
  CONSTRAINT upstream_batches_state_check CHECK (state IN ('collecting', 'filled', 'uploaded', 'submitted', 'ended', 'settled')),
  CONSTRAINT upstream_batches_outcome_check CHECK ((state IN ('ended', 'settled')) = (outcome IS NOT NULL)),
  CONSTRAINT upstream_batches_ended_at_check CHECK ((outcome IS NULL) = (ended_at IS NULL)),
  CONSTRAINT upstream_batches_submitted_check CHECK (state <> 'submitted' OR (upstream_id IS NOT NULL AND submitted_at IS NOT NULL))
)
-----
-- One batch of a deployment is filled at a time, so that two workers don't share the jobs out between two small ones.
CREATE UNIQUE INDEX upstream_batches_collecting_idx ON upstream_batches (deployment) WHERE state = 'collecting'
-----
CREATE INDEX upstream_batches_next_look_at_idx ON upstream_batches (next_look_at) WHERE state <> 'settled'
-----
CREATE INDEX upstream_batches_ended_at_idx ON upstream_batches (ended_at) WHERE ended_at IS NOT NULL
-----
-- A batch holds leases as a worker process does, and outlives all of them.
ALTER TABLE processes DROP CONSTRAINT processes_kind_check
-----
ALTER TABLE processes ADD CONSTRAINT processes_kind_check CHECK (kind IN ('api', 'worker', 'upstream_batch'))
-----
GRANT SELECT, INSERT, UPDATE, DELETE ON upstream_batches TO coatcheck_worker
